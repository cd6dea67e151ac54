"""What comes out: the answer, checked while it streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import headrace_detectors as detectors
from headrace_gateway.guarding.input import Guard
from headrace_kit.errors import BadInput
from headrace_protos.common.v1.chat_pb2 import Sampling
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

BLOCKED = "content_filter"
"""Finish reason of an answer that a policy ended."""


def guards_output(guard: Guard) -> bool:
    """Whether any policy looks at answers."""
    return any(policy.output or policy.tool_call for policy in guard.policies)


def refuse_logprobs(guard: Guard, sampling: Sampling) -> None:
    """Log probabilities quote every token, also those that a mask would hide. Raises BadInput."""
    if sampling.HasField("top_logprobs") and any(policy.rewrites_output for policy in guard.policies):
        raise BadInput(
            "logprobs cannot be had from a model whose policy masks or blocks output",
            code="unsupported_parameter",
            param="logprobs",
        )


async def guard_output(
    guard: Guard, chunks: AsyncGenerator[GenerateChunk, None], stop: Callable[[str], None]
) -> AsyncGenerator[GenerateChunk, None]:
    """The answer as the policies let it through.

    Text is held back only while something in it may still become a finding. A block ends every choice with the finish
    reason `content_filter`, which `stop` is told before the engine is stopped; no blocked text goes out.
    """
    lanes = _Lanes(guard)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                lanes.take(chunk)
                if chunk.finish_reason or lanes.blocked:
                    lanes.report()  # now: the attempt that made the answer tells it when it ends
                if lanes.blocked:
                    stop(BLOCKED)
                    break
                yield chunk
        if lanes.blocked:
            for index in lanes.unfinished():
                yield GenerateChunk(index=index, finish_reason=BLOCKED)
    finally:
        lanes.report()


class _Lanes:
    """One checked text per choice, for the answer, its reasoning and each of its tool calls."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._texts: dict[tuple[int, str], _Text] = {}
        self._open: dict[int, None] = {}
        self.blocked = False

    def take(self, chunk: GenerateChunk) -> None:
        """Replace what a chunk says by what may go out now."""
        index, final = chunk.index, bool(chunk.finish_reason)
        if final:
            self._open.pop(index, None)
        else:
            self._open[index] = None
        chunk.text = self._advance((index, "text"), "output", chunk.text, final)
        if chunk.reasoning or (final and (index, "reasoning") in self._texts):
            chunk.reasoning = self._advance((index, "reasoning"), "output", chunk.reasoning, final)
        self._take_calls(chunk, final)
        if self.blocked:
            self._open[index] = None

    def _take_calls(self, chunk: GenerateChunk, final: bool) -> None:
        for call in chunk.tool_calls:
            lane = (chunk.index, f"call {call.index}")
            call.arguments = self._advance(lane, "tool_call", call.arguments, False)
        if final:
            for (index, name), text in list(self._texts.items()):
                if index == chunk.index and name.startswith("call ") and (rest := text.finish()):
                    chunk.tool_calls.add(index=int(name[5:]), arguments=rest)
                self.blocked = self.blocked or text.blocked

    def _advance(self, lane: tuple[int, str], direction: str, delta: str, final: bool) -> str:
        text = self._texts.get(lane)
        if text is None:
            if not delta:
                return ""
            checkers = [c for p in self._guard.policies if (c := getattr(p, direction)) is not None]
            text = self._texts[lane] = _Text(checkers, direction, self._guard.session)
        out = text.feed(delta) + (text.finish() if final else "")
        self.blocked = self.blocked or text.blocked
        return out

    def unfinished(self) -> list[int]:
        """Choices that have not ended by themselves."""
        return sorted(self._open)

    def report(self) -> None:
        """Tell what was found since the last time."""
        for text in self._texts.values():
            self._guard.note(text.direction, text.new_findings())


class _Text:
    """One text on its way through the checkers of all policies."""

    def __init__(self, checkers: Sequence[detectors.Checker], direction: str, session: detectors.Session) -> None:
        self.direction = direction
        self._streams = [checker.stream(session) for checker in checkers]
        self._finished = False
        self._told = [0] * len(self._streams)

    def feed(self, delta: str) -> str:
        for stream in self._streams:
            if not delta:
                return ""
            delta = stream.feed(delta)
        return delta

    def finish(self) -> str:
        if self._finished:
            return ""
        self._finished = True
        rest = ""
        for stream in self._streams:
            rest = stream.finish(rest)
        return rest

    @property
    def blocked(self) -> bool:
        return any(stream.blocked for stream in self._streams)

    def new_findings(self) -> list[detectors.Finding]:
        new: list[detectors.Finding] = []
        for place, stream in enumerate(self._streams):
            new += stream.findings[self._told[place] :]
            self._told[place] = len(stream.findings)
        return new
