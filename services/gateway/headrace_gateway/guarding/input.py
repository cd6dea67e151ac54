"""What goes in: the caller's messages and the passages that retrieval found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import headrace_detectors as detectors
from headrace_gateway.calls import GenerateCall
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_gateway.outcome import GuardFinding
from headrace_kit.errors import Blocked
from headrace_protos.retrieval.v1.messages_pb2 import Passage


@dataclass(slots=True)
class Guard:
    """The policies of one request, in the order in which they run, and what its masks share."""

    policies: Sequence[GuardPolicy]
    found: list[GuardFinding]
    session: detectors.Session = field(default_factory=detectors.Session)

    def text(self, text: str, direction: str, param: str) -> str:
        """A whole text as the policies let it through.

        Raises:
            Blocked: a check refused it.
        """
        for policy in self.policies:
            checker: detectors.Checker | None = getattr(policy, direction)
            if checker is None or not text:
                continue
            verdict = checker.check(text, self.session)
            self.note(direction, verdict.findings)
            if verdict.action.withholds:
                kinds = sorted({found.check for found in verdict.findings if found.action.withholds})
                raise Blocked(
                    f"the policy {policy.name!r} does not allow this content ({', '.join(kinds)})", param=param
                )
            text = verdict.text
        return text

    def note(self, direction: str, findings: Iterable[detectors.Finding]) -> None:
        """Add findings to what the caller is told, equal ones counted together."""
        for found in findings:
            same = (direction, found.check, found.kind, found.action.value)
            for known in self.found:
                if (known.direction, known.check, known.kind, known.action) == same:
                    known.count += 1
                    break
            else:
                self.found.append(GuardFinding(*same, count=1))


def guard_call(guard: Guard, call: GenerateCall) -> None:
    """Check everything that the caller wrote; masks replace the text in place. Raises Blocked."""
    if call.prompt:
        call.prompt = guard.text(call.prompt, "input", "prompt")
    for number, message in enumerate(call.messages):
        direction = "tool_result" if message.role == "tool" else "input"
        for part in message.parts:
            if part.text:
                part.text = guard.text(part.text, direction, f"{call.place(number)}.content")
        for made in message.tool_calls:
            made.arguments = guard.text(made.arguments, "tool_call", f"{call.place(number)}.tool_calls")
    if call.metadata:
        call.metadata = {key: guard.text(value, "input", f"metadata.{key}") for key, value in call.metadata.items()}


def guard_passages(guard: Guard, passages: Sequence[Passage]) -> list[Passage]:
    """Passages as the policies let them through; one that is blocked is left out, the others stay."""
    kept = []
    for passage in passages:
        try:
            passage.text = guard.text(passage.text, "retrieved", "")
            passage.title = guard.text(passage.title, "retrieved", "")
        except Blocked:
            continue
        kept.append(passage)
    return kept
