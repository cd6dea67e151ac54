"""From messages to the prompt of a model that takes plain text, and its length in tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from headrace_inference.adapters.triton.chat_template import ChatTemplate
from headrace_inference.ports import Generation
from headrace_kit.errors import BadInput, NotReady


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt for the model, and the most tokens that its answer may have.

    `asks_tools`: the model was told of tools, so that the answer may call them.
    """

    text: str
    tokens: int
    max_tokens: int
    asks_tools: bool


class Prompter:
    """Makes prompts for one model. Making it reads the model's tokenizer, which takes up to a second.

    Args:
        files: of the catalogue entry: `tokenizer.json`, and those of `ChatTemplate`.
        context_tokens: prompt and answer together.
        max_output_tokens: of an answer, where the request names no limit.

    Raises:
        NotReady: a file is missing or cannot be read.
    """

    def __init__(self, files: Mapping[str, Path], context_tokens: int, max_output_tokens: int) -> None:
        if "tokenizer.json" not in files:
            raise NotReady("the model's catalogue entry has no tokenizer.json", code="engine_not_ready")
        try:
            self._tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
        except Exception as error:  # the library raises nothing narrower
            raise NotReady(f"the model's tokenizer.json cannot be read: {error}", code="engine_not_ready") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.template = ChatTemplate(files)
        self._context_tokens = context_tokens
        self._max_output_tokens = max_output_tokens
        begins = self._tokenizer.encode("").tokens[:1]
        self._adds_bos = bool(begins) and begins[0] == self.template.bos

    def prompt(self, generation: Generation) -> Prompt:
        """The prompt of a request.

        Raises:
            BadInput: it leaves no room for an answer, or the template refuses the messages or has no place for tools.
        """
        sampling = generation.sampling
        tools = sampling.tools if sampling.tool_choice != "none" else ()
        if tools and not self.template.takes_tools:
            raise BadInput("the model's chat template has no place for tools", code="unsupported", param="tools")
        text = self.template.render(generation.messages, tools) if generation.messages else generation.prompt
        if self._adds_bos and generation.messages:
            text = text.removeprefix(self.template.bos)  # the engine adds it itself
        text += generation.continue_from
        tokens = self.count(text)
        room = self._context_tokens - tokens
        if room < 1:
            raise BadInput(
                f"the prompt has {tokens} tokens, the model's context {self._context_tokens}",
                code="context_length_exceeded",
                param="messages" if generation.messages else "prompt",
            )
        return Prompt(text, tokens, min(sampling.max_tokens or self._max_output_tokens, room), bool(tools))

    def count(self, text: str, *, special: bool = True) -> int:
        """Tokens of a text; `special` counts those that the tokenizer adds at its ends."""
        return len(self._tokenizer.encode(text, add_special_tokens=special).ids)
