"""From the pipeline's answers to the proto's messages."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_gateway.ledger.usage import UsageRow
from headrace_gateway.outcome import Grounding, Outcome, usd
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk


def usage_message(groups: Sequence[str], row: UsageRow) -> pb.UsageRow:
    """One group's sums."""
    return pb.UsageRow(
        groups=dict(zip(groups, row.keys, strict=True)),
        requests=row.requests,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost_usd=usd(row.cost_nano_usd),
        overhead_usd=usd(row.overhead_nano_usd),
        cache_hits=row.cache_hits,
        saved_usd=usd(row.saved_nano_usd),
    )


def chunk_message(chunk: GenerateChunk, request_id: str, outcome: Outcome | None) -> pb.GenerateChunk:
    """A piece of an answer; `outcome` only with the last."""
    return pb.GenerateChunk(
        id=request_id,
        index=chunk.index,
        text=chunk.text,
        tool_calls=chunk.tool_calls,
        logprobs=chunk.logprobs,
        finish_reason=chunk.finish_reason,
        usage=chunk.usage if chunk.HasField("usage") else None,
        headrace=outcome_message(outcome) if outcome is not None else None,
        reasoning=chunk.reasoning,
    )


def choice_message(chunk: GenerateChunk) -> pb.Choice:
    """A whole choice."""
    return pb.Choice(
        index=chunk.index,
        text=chunk.text,
        tool_calls=chunk.tool_calls,
        logprobs=chunk.logprobs,
        finish_reason=chunk.finish_reason,
        reasoning=chunk.reasoning,
    )


def outcome_message(outcome: Outcome) -> pb.Outcome:
    """What headrace did."""
    return pb.Outcome(
        request_id=outcome.request_id,
        trace_id=outcome.trace_id,
        deployment=outcome.deployment,
        arm=outcome.arm,
        cache=outcome.cache,
        cost_usd=outcome.cost_usd,
        saved_usd=outcome.saved_usd or "",
        low_confidence=pb.LowConfidence(
            signal=outcome.low_confidence.signal,
            then=outcome.low_confidence.then,
            value=outcome.low_confidence.value,
        )
        if outcome.low_confidence
        else None,
        stages=[
            pb.StageOutcome(
                deployment=stage.deployment,
                verdict=stage.verdict,
                signal=stage.signal or "",
                confidence=stage.confidence,
                moment=stage.moment or "",
                usage=Usage(input_tokens=stage.usage.input_tokens, output_tokens=stage.usage.output_tokens),
                cost_usd=stage.cost_usd,
                duration_ms=stage.duration_ms,
                chosen_by=stage.chosen_by or "",
                reason=stage.reason or "",
            )
            for stage in outcome.stages
        ],
        citations=[
            pb.Citation(
                number=entry.number,
                collection=entry.collection,
                document_id=entry.document_id,
                chunk_id=entry.chunk_id,
                title=entry.title or "",
                start=entry.span.start,
                end=entry.span.end,
                page=entry.page or 0,
                quote=entry.quote,
                score=entry.score,
                sentences=[pb.SentenceSupport(start=span.start, end=span.end) for span in entry.sentences],
                support=entry.support,
            )
            for entry in outcome.citations
        ],
        grounding=_grounding(outcome.grounding) if outcome.grounding else None,
        guardrails=[
            pb.GuardFinding(
                direction=found.direction,
                check=found.check,
                kind=found.kind,
                action=found.action,
                count=found.count,
                review_id=found.review_id,
            )
            for found in outcome.guardrails
        ],
    )


def _grounding(grounding: Grounding) -> pb.Grounding:
    return pb.Grounding(
        score=grounding.score,
        sentences=[
            pb.SentenceSupport(
                start=one.start, end=one.end, score=one.score, supported=one.supported, choice=one.choice
            )
            for one in grounding.sentences
        ],
        withheld=grounding.withheld,
    )
