"""What comes out: the answer, checked while it streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import headrace_detectors as detectors
from headrace_gateway.guarding.input import Guard
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_gateway.guarding.windows import FarText
from headrace_kit.errors import BadInput, HeadraceError
from headrace_protos.common.v1.chat_pb2 import Sampling
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

BLOCKED = "content_filter"
"""Finish reason of an answer that a policy ended."""


def guards_output(guard: Guard) -> bool:
    """Whether any policy looks at answers."""
    return any(policy.looks_at("output") or policy.looks_at("tool_call") for policy in guard.policies)


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
                await lanes.take(chunk)
                if chunk.finish_reason or lanes.blocked:
                    lanes.report()  # now: the attempt that made the answer tells it when it ends
                if lanes.blocked:
                    stop(BLOCKED)
                    break
                yield chunk
        if lanes.blocked:
            for index in lanes.unfinished():
                yield GenerateChunk(index=index, text=lanes.rewrite, finish_reason=BLOCKED)
    finally:
        lanes.report()
        await lanes.aclose()


class _Lanes:
    """One checked text per choice, for the answer, its reasoning and each of its tool calls."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._texts: dict[tuple[int, str], _Text] = {}
        self._open: dict[int, None] = {}
        self.blocked = False
        self.rewrite = ""
        """What stands in place of what was withheld."""

    async def take(self, chunk: GenerateChunk) -> None:
        """Replace what a chunk says by what may go out now."""
        index, final = chunk.index, bool(chunk.finish_reason)
        if final:
            self._open.pop(index, None)
        else:
            self._open[index] = None
        chunk.text = await self._advance((index, "text"), "output", chunk.text, final)
        if chunk.reasoning or (final and (index, "reasoning") in self._texts):
            chunk.reasoning = await self._advance((index, "reasoning"), "output", chunk.reasoning, final)
        await self._take_calls(chunk, final)
        if self.blocked:
            self._open[index] = None

    async def _take_calls(self, chunk: GenerateChunk, final: bool) -> None:
        for call in chunk.tool_calls:
            lane = (chunk.index, f"call {call.index}")
            call.arguments = await self._advance(lane, "tool_call", call.arguments, False)
        if final:
            for (index, name), text in list(self._texts.items()):
                if index == chunk.index and name.startswith("call ") and (rest := await text.finish()):
                    chunk.tool_calls.add(index=int(name[5:]), arguments=rest)
                self._note(text)

    def _note(self, text: _Text) -> None:
        if text.blocked and not self.blocked:
            self.blocked, self.rewrite = True, text.rewrite

    async def _advance(self, lane: tuple[int, str], direction: str, delta: str, final: bool) -> str:
        text = self._texts.get(lane)
        if text is None:
            if not delta:
                return ""
            text = self._texts[lane] = _Text(self._guard, direction)
        out = await text.feed(delta) + (await text.finish() if final else "")
        self._note(text)
        return out

    def unfinished(self) -> list[int]:
        """Choices that have not ended by themselves."""
        return sorted(self._open)

    def report(self) -> None:
        """Tell what was found since the last time."""
        for text in self._texts.values():
            text.report()

    async def aclose(self) -> None:
        """Stop whatever is still being judged, and tell the audit what was decided."""
        for text in self._texts.values():
            await text.aclose()


class _Text:
    """One text on its way through the checks of all policies: tier 1 here, then those of the guardrails service."""

    def __init__(self, guard: Guard, direction: str) -> None:
        self.direction = direction
        self._guard = guard
        self._lines: list[tuple[GuardPolicy, detectors.StreamChecker]] = []
        for policy in guard.policies:
            checker: detectors.Checker | None = getattr(policy, direction)
            if checker is not None:
                session = detectors.Session() if policy.shadow else guard.session
                self._lines.append((policy, checker.stream(session)))
        self._far = FarText(guard, direction)
        self._finished = False
        self._told = [0] * len(self._lines)
        self._seen: list[list[str]] = [[] for _ in self._lines]
        self._given: set[int] = set()

    async def feed(self, delta: str) -> str:
        for place, (policy, stream) in enumerate(self._lines):
            if not delta:
                return ""
            self._seen[place].append(delta)
            out = stream.feed(delta)
            delta = delta if policy.shadow else out
        await self._escalate()
        return await self._far.advance(delta, final=False) if delta and not self.blocked else ""

    async def finish(self) -> str:
        if self._finished:
            return ""
        self._finished = True
        rest = ""
        for place, (policy, stream) in enumerate(self._lines):
            self._seen[place].append(rest)
            out = stream.finish(rest)
            rest = rest if policy.shadow else out
        await self._escalate()
        return "" if self.blocked else await self._far.advance(rest, final=True)

    async def _escalate(self) -> None:
        """Give what tier 1 withheld for a person to the queue of the guardrails service, as far as it was made.

        The answer ends in either case: without the service it is withheld, and nobody is told.
        """
        for place, (policy, stream) in enumerate(self._lines):
            if policy.shadow or place in self._given or stream.action is not detectors.Action.ESCALATE:
                continue
            try:
                text = "".join(self._seen[place])
                verdict = await self._guard.remote.check(policy, self.direction, text, 1)
            except HeadraceError:
                continue
            self._given.add(place)
            self.report()
            self._guard.escalated(self.direction, verdict.review_id)

    @property
    def blocked(self) -> bool:
        return self._far.withheld or any(stream.blocked for policy, stream in self._lines if not policy.shadow)

    @property
    def rewrite(self) -> str:
        """What stands in its place once it is withheld; mostly nothing."""
        for policy, stream in self._lines:
            if not policy.shadow and stream.action is detectors.Action.REWRITE:
                return policy.rewrite
        return self._far.rewrite

    def report(self) -> None:
        """Tell what tier 1 found since the last time; the guardrails service's findings were told as they came."""
        for place, (policy, stream) in enumerate(self._lines):
            new = stream.findings[self._told[place] :]
            self._told[place] = len(stream.findings)
            self._guard.note(self.direction, new, shadow=policy.shadow)

    async def aclose(self) -> None:
        await self._far.aclose()
        for place, (policy, stream) in enumerate(self._lines):
            if place not in self._given:  # the service tells the audit of what it was given
                self._guard.noted(policy, self.direction, stream.action, stream.findings)
