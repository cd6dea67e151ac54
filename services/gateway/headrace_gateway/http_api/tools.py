"""Tools and the choice among them: the same rules for chat and for responses."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_kit.errors import BadInput
from headrace_protos.common.v1.chat_pb2 import Sampling, Tool

NAMED = "named"


def choose(
    sampling: Sampling, tools: Sequence[Tool], choice: str, allowed: Sequence[str] | None, parallel: bool | None
) -> None:
    """Put tools into a request's sampling.

    Args:
        sampling: of the request.
        tools: all that were sent.
        choice: `auto`, `none`, `required`, `named` (the one in `allowed` must be called), or empty where none was made.
        allowed: names of those that may be called; the others are not shown to the model. None: all.
        parallel: whether several may be called at once.

    Raises:
        BadInput: a choice among tools that are not there.
    """
    names = {tool.name for tool in tools}
    for name in allowed or ():
        if name not in names:
            raise BadInput(f"tool_choice names {name[:64]!r}, which is not in tools", param="tool_choice")
    if choice == "required" and not tools:
        raise BadInput("tool_choice 'required' needs tools", param="tool_choice")
    if parallel is not None:
        if not tools:
            raise BadInput("parallel_tool_calls needs tools", param="parallel_tool_calls")
        sampling.parallel_tool_calls = parallel
    if choice == NAMED and allowed:
        sampling.tool_choice, allowed = allowed[0], None
    else:
        sampling.tool_choice = choice
    sampling.tools.extend(tool for tool in tools if allowed is None or tool.name in allowed)
