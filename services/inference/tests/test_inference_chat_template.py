"""Chat templates as models' files have them, and prompts made with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from headrace_inference.adapters.triton.chat_template import ChatTemplate
from headrace_inference.adapters.triton.gpu_prompt import Prompter
from headrace_inference.ports import Generation, Sampling
from headrace_kit.errors import BadInput, NotReady

HELLO = ({"role": "user", "content": "Hello"},)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"a": "<b>&'é'"}}}
CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}"
)


def files(folder: Path, **config) -> dict[str, Path]:
    """Tokenizer files with this config; every word is a token, and `<s>` comes in front."""
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", **config}))
    return {name: folder / name for name in ("tokenizer.json", "tokenizer_config.json")}


def rendered(folder: Path, template: str, messages=HELLO, tools=()) -> str:
    return ChatTemplate(files(folder, chat_template=template)).render(messages, tools)


def test_messages_become_a_prompt_up_to_where_the_model_speaks(tmp_path):
    messages = ({"role": "system", "content": "Be brief."}, *HELLO)
    assert rendered(tmp_path, CHATML, messages) == "<|system|>Be brief.\n<|user|>Hello\n<|a|>"


def test_parts_of_text_become_one_text_and_images_keep_their_place(tmp_path):
    said = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert rendered(tmp_path, CHATML, ({"role": "user", "content": said},)) == "<|user|>one\ntwo\n<|a|>"
    seen = [{"type": "image_url", "image_url": {"url": "data:..."}}, {"type": "text", "text": "What?"}]
    template = "{% for p in messages[0].content %}{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}"
    assert rendered(tmp_path, template, ({"role": "user", "content": seen},)) == "<image>What?"


def test_tools_are_written_as_json_without_html_escapes(tmp_path):
    template = "{{ tools | tojson }}{{ tools[0] | tojson(indent=1) }}"
    assert rendered(tmp_path, template, tools=(TOOL,)) == json.dumps([TOOL], ensure_ascii=False) + json.dumps(
        TOOL, ensure_ascii=False, indent=1
    )


def test_arguments_of_earlier_calls_are_objects(tmp_path):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    template = "{{ messages[0].tool_calls[0].function.arguments.a + 1 }}"
    messages = ({"role": "assistant", "content": None, "tool_calls": [call]},)
    assert rendered(tmp_path, template, messages) == "2"


def test_what_templates_use_is_there(tmp_path):
    template = (
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
        "{{ strftime_now('%Y') | length }}{{ eos_token }}{{ bos_token }}"
    )
    made = ChatTemplate(files(tmp_path, chat_template=template, eos_token={"content": "</s>", "lstrip": False}))
    assert made.render((*HELLO, *HELLO), ()) == "Hello4</s><s>"


def test_a_template_may_have_a_name_or_a_file_of_its_own(tmp_path):
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools | length }} tools"}]
    made = ChatTemplate(files(tmp_path, chat_template=named))
    assert (made.render(HELLO, ()), made.render(HELLO, (TOOL,))) == ("plain", "1 tools")
    (tmp_path / "chat_template.jinja").write_text("from the file")
    made = ChatTemplate({**files(tmp_path), "chat_template.jinja": tmp_path / "chat_template.jinja"})
    assert made.render(HELLO, ()) == "from the file"


@pytest.mark.parametrize("template", [None, "{% if %}", [{"name": "rag", "template": "x"}]])
def test_files_without_a_usable_template_are_named(tmp_path, template):
    config = {} if template is None else {"chat_template": template}
    with pytest.raises(NotReady) as failed:
        ChatTemplate(files(tmp_path, **config))
    assert "template" in failed.value.message


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content }}",
        "{{ ''.__class__.__mro__ }}{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
    ],
)
def test_a_template_that_refuses_or_reaches_out_is_the_callers_error(tmp_path, template):
    with pytest.raises(BadInput) as refused:
        rendered(tmp_path, template)
    assert refused.value.param == "messages"


def prompter(tmp_path: Path, **options) -> Prompter:
    return Prompter(files(tmp_path, chat_template=options.pop("template", "{{ bos_token }} " + CHATML)), 12, 8)


def test_the_beginning_of_text_is_said_once(tmp_path):
    prompt = prompter(tmp_path).prompt(Generation(messages=HELLO))
    assert prompt.text == " <|user|>Hello\n<|a|>"
    assert prompt.tokens == 3, "the engine puts <s> in front"


def test_an_answer_is_limited_by_the_context(tmp_path):
    made = prompter(tmp_path)
    for asked, most in ((None, 8), (5, 5), (99, 9)):
        prompt = made.prompt(Generation(messages=HELLO, sampling=Sampling(max_tokens=asked)))
        assert prompt.max_tokens == most
    with pytest.raises(BadInput) as refused:
        made.prompt(Generation(prompt="word " * 12))
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")


def test_tools_need_a_place_in_the_template(tmp_path):
    with pytest.raises(BadInput) as refused:
        prompter(tmp_path).prompt(Generation(messages=HELLO, sampling=Sampling(tools=(TOOL,))))
    assert (refused.value.code, refused.value.param) == ("unsupported", "tools")
    none = Generation(messages=HELLO, sampling=Sampling(tools=(TOOL,), tool_choice="none"))
    assert not prompter(tmp_path).prompt(none).asks_tools
    taking = prompter(tmp_path, template="{{ tools | length if tools else '' }}")
    assert taking.prompt(Generation(messages=HELLO, sampling=Sampling(tools=(TOOL,)))).asks_tools


def test_files_that_are_missing_or_broken_are_named(tmp_path):
    there = files(tmp_path, chat_template="x")
    with pytest.raises(NotReady) as failed:
        Prompter({"tokenizer_config.json": there["tokenizer_config.json"]}, 12, 8)
    assert "tokenizer.json" in failed.value.message
    there["tokenizer.json"].write_text("{")
    with pytest.raises(NotReady):
        Prompter(there, 12, 8)


def test_an_answer_that_another_engine_began_stands_behind_the_prompt(tmp_path):
    prompter = Prompter(files(tmp_path, chat_template=CHATML), 100, 10)
    alone, begun = (prompter.prompt(Generation(messages=HELLO, continue_from=text)) for text in ("", " Once upon a"))
    assert begun.text == alone.text + " Once upon a"
    assert begun.tokens > alone.tokens
