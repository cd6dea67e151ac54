"""From a generation to litellm's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from headrace_inference.ports import Generation, Json, Sampling
from headrace_kit.config.deployments import LiteLlmDeployment
from headrace_kit.errors import BadInput

TAKE_TOP_K = frozenset(
    [
        "anthropic",
        "bedrock",
        "cohere",
        "fireworks_ai",
        "gemini",
        "hosted_vllm",
        "openrouter",
        "together_ai",
        "vertex_ai",
    ]
)
"""Providers whose API has `top_k`: it is none of OpenAI's parameters, so litellm does not tell."""

_EPHEMERAL = {"type": "ephemeral"}
_KINDS = {"image_url": "image", "input_audio": "audio"}


def check(generation: Generation, config: LiteLlmDeployment, litellm: ModuleType | None) -> None:
    """Refuse what this deployment cannot do. Options of the provider's model are known once litellm is there.

    Raises:
        BadInput: `unsupported`; `param` names the field.
    """
    if config.task != "generate":
        raise _unsupported("this deployment cannot generate", "deployment")
    if not generation.messages:
        raise _unsupported("a hosted model takes messages, no bare prompt: use chat completions", "prompt")
    if generation.adapter:
        raise _unsupported("a hosted model has no LoRA adapters here", "adapter")
    wanted = generation.sampling
    if wanted.response_format and wanted.response_format.get("type") == "regex":
        raise _unsupported("hosted models do not constrain answers by a regex; use json_schema", "response_format")
    for number, message in enumerate(generation.messages):
        if not isinstance(message.get("content"), str | None):
            for place, part in enumerate(message["content"]):
                _check_part(part, f"messages[{number}].content[{place}]", config)
    if litellm is not None:
        _check_options(wanted, config, litellm)


def _check_part(part: Json, where: str, config: LiteLlmDeployment) -> None:
    kind = _KINDS.get(part["type"])
    if kind is not None and kind not in config.accepts:
        takes = ", ".join(("text", *config.accepts))
        raise _unsupported(f"this deployment takes {takes}; not {kind} parts", where)


def check_inline(generation: Generation) -> None:
    """Refuse images by address, which the service has put inside by now: litellm fetches from wherever they point.

    Raises:
        BadInput: `unsupported`.
    """
    for number, message in enumerate(generation.messages):
        if not isinstance(message.get("content"), str | None):
            for place, part in enumerate(message["content"]):
                if part["type"] == "image_url" and not part["image_url"]["url"].startswith("data:"):
                    raise _unsupported("images are data URLs here", f"messages[{number}].content[{place}].image_url")


def _check_options(wanted: Sampling, config: LiteLlmDeployment, litellm: ModuleType) -> None:
    provider, known = supported(config, litellm)
    if wanted.top_k is not None and provider not in TAKE_TOP_K:
        raise _unsupported(f"{provider} has no top_k", "top_k")
    if known is None:
        return
    for name in _asked(wanted):
        if name not in known:
            raise _unsupported(f"{config.model} does not take {name}; leave it out", name)


def supported(config: LiteLlmDeployment, litellm: ModuleType) -> tuple[str, Sequence[str] | None]:
    """The provider's name, and OpenAI's parameters that its model takes; None where litellm does not know."""
    model, provider, _, _ = litellm.get_llm_provider(config.model, api_base=config.address)
    kind = "chat_completion" if config.task == "generate" else "embeddings"
    return provider, litellm.get_supported_openai_params(model, custom_llm_provider=provider, request_type=kind)


def _asked(wanted: Sampling) -> list[str]:
    """Names of the options that ask for something; a neutral value asks for nothing."""
    asked = {
        "temperature": wanted.temperature is not None,
        "top_p": wanted.top_p not in (None, 1.0),
        "frequency_penalty": bool(wanted.frequency_penalty),
        "presence_penalty": bool(wanted.presence_penalty),
        "seed": wanted.seed is not None,
        "stop": bool(wanted.stop),
        "logprobs": wanted.top_logprobs is not None,
        "top_logprobs": bool(wanted.top_logprobs),
        "n": wanted.n > 1,
        "response_format": wanted.response_format is not None,
        "tools": bool(wanted.tools),
        "tool_choice": bool(wanted.tools) and wanted.tool_choice not in ("", "auto"),
        "parallel_tool_calls": wanted.parallel_tool_calls is False,
    }
    return [name for name, really in asked.items() if really]


def arguments(generation: Generation, config: LiteLlmDeployment, litellm: ModuleType) -> dict[str, Any]:
    """litellm's arguments, without the key. Several answers are asked for as a whole: litellm streams only one."""
    wanted = generation.sampling
    asked = _asked(wanted)
    found: dict[str, Any] = {
        "messages": messages(generation.messages, config.prompt_caching),
        "max_tokens": wanted.max_tokens or config.max_output_tokens,
        "stream": wanted.n == 1,
        "_skip_mcp_handler": True,  # with tools it would import its proxy, and run tools that it takes for its own
    }
    if generation.continue_from:
        # Mistral and DeepSeek want the mark; others go on with an assistant turn that stands last.
        found["messages"].append({"role": "assistant", "content": generation.continue_from, "prefix": True})
    if wanted.n == 1:
        found["stream_options"] = {"include_usage": True}
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "n", "parallel_tool_calls"):
        if name in asked:
            found[name] = getattr(wanted, name)
    if wanted.top_k is not None:
        found["top_k"] = wanted.top_k
    if wanted.stop:
        found["stop"] = list(wanted.stop)
    if wanted.response_format is not None:
        found["response_format"] = wanted.response_format
    if wanted.tools:
        found["tools"] = list(wanted.tools)
        if "tool_choice" in asked:
            found["tool_choice"] = _tool_choice(wanted.tool_choice)
    _, known = supported(config, litellm)
    if "logprobs" in asked or (generation.want_stats and "logprobs" in (known or ())):
        found["logprobs"] = True
        if wanted.top_logprobs:
            found["top_logprobs"] = wanted.top_logprobs
    return found


def _tool_choice(choice: str) -> Any:
    if choice in ("none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def messages(given: Sequence[Json], caching: str) -> list[dict[str, Any]]:
    """Copies of the messages with cache marks as the deployment wants them.

    A mark on the last system message covers everything before it, and providers take few marks: one is set.
    """
    copies = [dict(message) for message in given]
    if caching == "none":
        return [_unmarked(message) for message in copies]
    if caching == "mark_system":
        systems = [message for message in copies if message["role"] in ("system", "developer")]
        if systems:
            _mark(systems[-1])
    return copies


def _mark(message: dict[str, Any]) -> None:
    content = message.get("content") or ""
    parts: list[dict[str, Any]] = (
        [{"type": "text", "text": content}] if isinstance(content, str) else [dict(part) for part in content]
    )
    if parts:
        parts[-1]["cache_control"] = dict(_EPHEMERAL)
    message["content"] = parts


def _unmarked(message: dict[str, Any]) -> dict[str, Any]:
    message.pop("cache_control", None)
    if not isinstance(message.get("content"), str | None):
        message["content"] = [
            {key: value for key, value in part.items() if key != "cache_control"} for part in message["content"]
        ]
    return message


def _unsupported(message: str, param: str) -> BadInput:
    return BadInput(message, code="unsupported", param=param)
