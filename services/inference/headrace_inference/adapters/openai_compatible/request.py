"""From a generation to the body of a server's request, and what is refused before one is made."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from headrace_inference.adapters.openai_compatible.dialect import Dialect
from headrace_inference.ports import Generation, Json
from headrace_kit.config.deployments import ServerDeployment
from headrace_kit.errors import BadInput

_PASSED_ON = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
_MEDIA = {"image_url": "image", "input_audio": "audio"}
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def check(generation: Generation, config: ServerDeployment, dialect: Dialect) -> None:
    """Refuse what the server cannot do, or the deployment does not have.

    Raises:
        BadInput: `unsupported`; `param` names the field.
    """
    sampling = generation.sampling
    if generation.adapter and generation.adapter not in config.adapters:
        known = ", ".join(config.adapters) or "none"
        raise _unsupported("adapter", f"the deployment has no adapter {generation.adapter!r}; it has {known}")
    for number, message in enumerate(generation.messages):
        if not isinstance(message.get("content"), str):
            _check_parts(message, number, config)
    if sampling.tools and config.tool_parser == "none":
        raise _unsupported("tools", "tools are off for this deployment (tool_parser: none)")
    if (sampling.top_logprobs or 0) > dialect.max_top_logprobs:
        raise _unsupported("top_logprobs", f"{dialect.name} gives at most {dialect.max_top_logprobs}")
    asked = {
        "n": sampling.n > 1,
        "top_k": sampling.top_k is not None,
        "presence_penalty": bool(sampling.presence_penalty),
        "prompt": not generation.messages,
        "response_format.json_object": (sampling.response_format or {}).get("type") == "json_object",
    }
    for option, reason in dialect.cannot.items():
        if asked[option]:
            raise _unsupported(option.partition(".")[0], f"{dialect.name} cannot do that: {reason}")


def _check_parts(message: Json, number: int, config: ServerDeployment) -> None:
    for position, part in enumerate(message.get("content") or ()):
        kind = _MEDIA.get(part["type"])
        if kind is not None and kind not in config.accepts:
            takes = " and ".join(("text", *config.accepts))
            raise _unsupported(f"messages[{number}].content[{position}]", f"the deployment takes {takes}, not {kind}")


def _unsupported(param: str, message: str) -> BadInput:
    return BadInput(message, code="unsupported", param=param)


class Requests:
    """Makes the requests of one deployment.

    Args:
        name: the deployment.
        salt_key: keys the hash that stands for a tenant in the server's prefix cache.
    """

    def __init__(self, name: str, config: ServerDeployment, dialect: Dialect, salt_key: bytes) -> None:
        self._config = config
        self._dialect = dialect
        self._salt_key = salt_key
        self.served_name = config.served_name or name
        """The model's name on the server."""

    def model(self, adapter: str) -> str:
        """The model's name on the server with a LoRA adapter, or "" for none."""
        return self._dialect.adapter.format(model=self.served_name, adapter=adapter) if adapter else self.served_name

    def salt(self, tenant: str) -> str:
        """Stands for a tenant in the server's prefix cache; says nothing of who that is."""
        digest = hmac.digest(self._salt_key, tenant.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def body(self, generation: Generation) -> tuple[str, dict[str, Any]]:
        """Path and body."""
        sampling = generation.sampling
        body: dict[str, Any] = {
            "model": self.model(generation.adapter),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_tokens or self._config.max_output_tokens,
        }
        if self._dialect.counts_tokens:
            body["stream_options"]["continuous_usage_stats"] = True
        for option in _PASSED_ON:
            if (value := getattr(sampling, option)) is not None:
                body[option] = value
        if self._dialect.name == "TGI" and sampling.top_p is not None and sampling.top_p >= 1:
            del body["top_p"]  # it wants less than 1, and means the same without
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.n > 1:
            body["n"] = sampling.n
        if generation.tenant and self._dialect.salted:
            body["cache_salt"] = self.salt(generation.tenant)
        if sampling.response_format:
            body.update(_constraint(sampling.response_format, self._dialect))
        wanted = sampling.top_logprobs
        if wanted is None and generation.want_stats:
            wanted = 0
        if not generation.messages:
            body["prompt"] = generation.prompt + generation.continue_from
            if wanted is not None:
                body["logprobs"] = wanted
            return COMPLETIONS, body
        body["messages"] = [_message(message, self._dialect) for message in generation.messages]
        if generation.continue_from:
            body["messages"].append({"role": "assistant", "content": generation.continue_from})
            body["continue_final_message"] = True
            if self._dialect.name == "vLLM":
                body["add_generation_prompt"] = False
        if wanted is not None:
            body["logprobs"] = True
            if wanted:
                body["top_logprobs"] = wanted
        if sampling.tools:
            body.update(_tools(generation))
        return CHAT, body

    def without_limit(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The request with the rest of the context as its limit, or None where the server cannot."""
        if path == CHAT:
            return {name: value for name, value in body.items() if name != "max_tokens"}
        return {**body, "max_tokens": None} if self._dialect.null_limit else None


def _tools(generation: Generation) -> dict[str, Any]:
    sampling = generation.sampling
    choice = sampling.tool_choice or "auto"
    named = choice not in ("auto", "none", "required")
    made: dict[str, Any] = {
        "tools": list(sampling.tools),
        "tool_choice": {"type": "function", "function": {"name": choice}} if named else choice,
    }
    if sampling.parallel_tool_calls is not None:
        made["parallel_tool_calls"] = sampling.parallel_tool_calls
    return made


def _constraint(wanted: Json, dialect: Dialect) -> dict[str, Any]:
    """Fields that hold the answer to a form."""
    kind = wanted["type"]
    if kind == "regex":
        return {
            "vLLM": {"structured_outputs": {"regex": wanted["regex"]}},
            "SGLang": {"regex": wanted["regex"]},
            # What is inside a NIM is the image's business; each engine ignores the other's field.
            "NIM": {"structured_outputs": {"regex": wanted["regex"]}, "regex": wanted["regex"]},
            "TGI": {"response_format": {"type": "regex", "value": wanted["regex"]}},
        }[dialect.name]
    if dialect.name == "TGI":
        if kind == "json_schema":
            return {"response_format": {"type": "json", "value": wanted["json_schema"]["schema"]}}
        return {}  # text
    return {"response_format": dict(wanted)}


def _message(message: Json, dialect: Dialect) -> Json:
    """SGLang takes sound as a URL only."""
    content = message.get("content")
    if dialect.name != "SGLang" or not isinstance(content, list | tuple):
        return message
    return {**message, "content": [_audio_url(part) for part in content]}


def _audio_url(part: Json) -> Json:
    if part["type"] != "input_audio":
        return part
    sound = part["input_audio"]
    url = f"data:audio/{sound.get('format', 'wav')};base64,{sound['data']}"
    return {"type": "audio_url", "audio_url": {"url": url}}
