"""Files of a small tokenizer with a ChatML template, for engines that take plain text."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

TEMPLATE = """{{ bos_token }}{%- if tools %}<|im_start|>system
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
Call a tool in <tool_call></tool_call> tags.<|im_end|>
{% endif -%}
{%- for message in messages %}
{%- if message.role not in ["system", "user", "assistant", "tool"] %}
{{ raise_exception("role " + message.role + " is not known") }}
{%- endif %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""


def write(folder: Path) -> dict[str, Path]:
    """Write the files; their paths by name. Each word is a token, and `<s>` goes in front."""
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    files = {name: folder / name for name in ("tokenizer.json", "tokenizer_config.json")}
    tokenizer.save(str(files["tokenizer.json"]))
    described = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    files["tokenizer_config.json"].write_text(json.dumps(described))
    return files
