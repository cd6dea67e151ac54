"""What a request may ask for, checked before it queues."""

from __future__ import annotations

from headrace_inference.ports import Generation
from headrace_kit.config.deployments import BaseDeployment, LanguageDeployment, continues
from headrace_kit.config.nearest import nearest
from headrace_kit.errors import BadInput

MAX_TEXTS = 2048
MAX_DOCUMENTS = 1000
MAX_STOP = 4
MAX_TOP_LOGPROBS = 20
_ROLES = ("system", "developer", "user", "assistant", "tool")
_MEDIA = {"image_url": "image", "input_audio": "audio"}


def check_generation(generation: Generation, config: BaseDeployment, max_choices: int) -> bool:
    """Refuse what no engine of ours takes, and what this deployment was not made for.

    Returns:
        Whether there are images or audio.

    Raises:
        BadInput: `param` names the field.
    """
    if bool(generation.messages) == bool(generation.prompt):
        raise BadInput("give messages or a prompt, one of the two", param="messages")
    media = _check_messages(generation, config)
    _check_adapter(generation.adapter, config)
    sampling = generation.sampling
    _within("max_tokens", sampling.max_tokens, 1, 1_048_576)
    _within("temperature", sampling.temperature, 0, 2)
    _within("top_p", sampling.top_p, 0, 1)
    if sampling.top_p == 0:
        raise BadInput("top_p must be above 0", param="top_p")
    _within("frequency_penalty", sampling.frequency_penalty, -2, 2)
    _within("presence_penalty", sampling.presence_penalty, -2, 2)
    _within("top_logprobs", sampling.top_logprobs, 0, MAX_TOP_LOGPROBS)
    _within("n", sampling.n, 1, max_choices)
    if len(sampling.stop) > MAX_STOP or not all(sampling.stop):
        raise BadInput(f"stop takes at most {MAX_STOP} strings, none of them empty", param="stop")
    if generation.continue_from:
        _check_continuation(generation, config)
    names = [tool["function"]["name"] for tool in sampling.tools]
    if sampling.tool_choice and sampling.tool_choice not in ("auto", "none", "required", *names):
        raise BadInput(f"there is no tool {sampling.tool_choice!r}", param="tool_choice")
    return media


def check_inline(generation: Generation) -> None:
    """Refuse images by address: no engine is to fetch what a caller names. Raises BadInput."""
    for number, message in enumerate(generation.messages):
        for position, part in enumerate(message["content"] if isinstance(message.get("content"), list) else ()):
            if not part.get("image_url", {"url": "data:"})["url"].startswith("data:"):
                raise BadInput(
                    "images are data URLs here", param=f"messages[{number}].content[{position}].image_url.url"
                )


def check_count(field: str, count: int, most: int) -> None:
    """Refuse an empty list and one of more than `most`. Raises BadInput."""
    if not 1 <= count <= most:
        raise BadInput(f"{field} takes 1 to {most} entries, not {count}", param=field)


def adapters_of(config: BaseDeployment) -> tuple[str, ...]:
    """Names of the LoRA adapters that requests may name."""
    return tuple(config.adapters) if isinstance(config, LanguageDeployment) else ()


def accepts_of(config: BaseDeployment) -> tuple[str, ...]:
    """What messages may hold besides text: `image`, `audio`."""
    return tuple(getattr(config, "accepts", ()))


def _check_messages(generation: Generation, config: BaseDeployment) -> bool:
    media = False
    for number, message in enumerate(generation.messages):
        if message["role"] not in _ROLES:
            raise BadInput(f"role must be one of {', '.join(_ROLES)}", param=f"messages[{number}].role")
        content = message.get("content")
        if content is None or isinstance(content, str):
            continue
        for position, part in enumerate(content):
            kind = _MEDIA.get(part["type"])
            if kind is None:
                continue
            media = True
            accepts = accepts_of(config)
            if kind not in accepts:
                takes = "text only" if not accepts else f"text and {', '.join(accepts)} only"
                raise BadInput(
                    f"this deployment takes {takes}, not {kind}",
                    code="unsupported",
                    param=f"messages[{number}].content[{position}]",
                )
    return media


def _check_continuation(generation: Generation, config: BaseDeployment) -> None:
    sampling = generation.sampling
    reason = ""
    if not continues(config):
        reason = "this deployment cannot go on with an answer that another one began"
    elif sampling.n > 1 or sampling.response_format or (sampling.tools and sampling.tool_choice != "none"):
        reason = "an answer with tools, a response format or several choices cannot be gone on with"
    if reason:
        raise BadInput(reason, code="unsupported", param="continue_from")


def _check_adapter(adapter: str, config: BaseDeployment) -> None:
    known = adapters_of(config)
    if adapter and adapter not in known:
        has = f"it has {', '.join(known)}{nearest(adapter, known)}" if known else "it has none"
        raise BadInput(f"this deployment has no LoRA adapter {adapter!r}: {has}", code="unsupported", param="adapter")


def _within(field: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise BadInput(f"{field} must be from {low} to {high}", param=field)
