"""What a request may ask for, checked before it queues."""

from __future__ import annotations

from headrace_inference.ports import Generation
from headrace_kit.errors import BadInput

MAX_TEXTS = 2048
MAX_DOCUMENTS = 1000
MAX_STOP = 4
MAX_TOP_LOGPROBS = 20
_ROLES = ("system", "developer", "user", "assistant", "tool")


def check_generation(generation: Generation, max_choices: int) -> None:
    """Refuse what no engine of ours takes.

    Raises:
        BadInput: `param` names the field.
    """
    if bool(generation.messages) == bool(generation.prompt):
        raise BadInput("give messages or a prompt, one of the two", param="messages")
    for number, message in enumerate(generation.messages):
        if message["role"] not in _ROLES:
            raise BadInput(f"role must be one of {', '.join(_ROLES)}", param=f"messages[{number}].role")
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
    names = [tool["function"]["name"] for tool in sampling.tools]
    if sampling.tool_choice and sampling.tool_choice not in ("auto", "none", "required", *names):
        raise BadInput(f"there is no tool {sampling.tool_choice!r}", param="tool_choice")


def check_count(field: str, count: int, most: int) -> None:
    """Refuse an empty list and one of more than `most`. Raises BadInput."""
    if not 1 <= count <= most:
        raise BadInput(f"{field} takes 1 to {most} entries, not {count}", param=field)


def _within(field: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise BadInput(f"{field} must be from {low} to {high}", param=field)
