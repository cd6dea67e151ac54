"""From litellm's answers, whole or in pieces, to chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from headrace_inference.ports import Chunk, TokenLogprob, ToolCall, Usage
from headrace_kit.errors import Upstream

_FINISH = {"stop": "stop", "length": "length", "content_filter": "content_filter", "tool_calls": "tool_calls"}
_FINISH |= {"function_call": "tool_calls", "eos": "stop", "refusal": "content_filter", "safety": "content_filter"}


class Stream:
    """Chunks of one streamed answer. litellm makes up a finish reason where a provider's stream just ends, so the
    reason is held until the stream's true end is known.

    Args:
        want_logprobs: report the tokens themselves, not only their sums.
    """

    def __init__(self, *, want_logprobs: bool) -> None:
        self._want_logprobs = want_logprobs
        self._finish = ""
        self._usage: Usage | None = None
        self._called = False
        self._counted = 0
        self._scored = False

    def piece(self, part: Any) -> Chunk | None:
        """The chunk of a part of the stream; None where it adds nothing to the answer."""
        if getattr(part, "usage", None) is not None:
            self._usage = usage(part.usage)
        if not part.choices:
            return None
        choice = part.choices[0]
        self._finish = choice.finish_reason or self._finish
        delta = choice.delta
        calls = tuple(_calls(getattr(delta, "tool_calls", None) or ()))
        self._called = self._called or bool(calls)
        tokens = _logprobs(choice)
        text, reasoning = delta.content or "", getattr(delta, "reasoning_content", None) or ""
        if not (text or reasoning or calls or tokens):
            return None
        chunk = _chunk(0, text, reasoning, calls, tokens, want_logprobs=self._want_logprobs)
        self._counted += chunk.tokens
        self._scored = self._scored or bool(tokens)
        return chunk

    def end(self, *, ended_by_provider: bool) -> Chunk:
        """The last chunk. Raises Upstream when the provider's stream broke off."""
        if not ended_by_provider:
            raise Upstream("the provider's answer broke off", code="engine_failed")
        reason = _FINISH.get(self._finish, "stop")
        if self._called and reason == "stop":
            reason = "tool_calls"
        found = self._usage or Usage()
        # A piece counts as one token at least; how many they were is known now. Beside scored ones it would mislead.
        uncounted = 0 if self._scored else max(0, found.output_tokens - self._counted)
        return Chunk(finish_reason=reason, tokens=uncounted, usage=found)


def whole(answer: Any, *, want_logprobs: bool) -> Iterator[Chunk]:
    """The chunks of an answer that came as a whole."""
    found = usage(answer.usage)
    share = found.output_tokens // max(1, len(answer.choices))  # providers count all answers together
    for choice in answer.choices:
        message = choice.message
        calls = tuple(_calls(getattr(message, "tool_calls", None) or ()))
        reasoning = getattr(message, "reasoning_content", None) or ""
        tokens = _logprobs(choice)
        chunk = _chunk(choice.index, message.content or "", reasoning, calls, tokens, want_logprobs=want_logprobs)
        yield chunk
        reason = _FINISH.get(choice.finish_reason or "", "stop")
        yield Chunk(
            index=choice.index,
            finish_reason="tool_calls" if calls and reason == "stop" else reason,
            tokens=0 if tokens else max(0, share - chunk.tokens),
        )
    yield Chunk(usage=found)


def _chunk(
    index: int,
    text: str,
    reasoning: str,
    calls: tuple[ToolCall, ...],
    tokens: list[TokenLogprob],
    *,
    want_logprobs: bool,
) -> Chunk:
    return Chunk(
        index=index,
        text=text,
        reasoning=reasoning,
        tool_calls=calls,
        logprobs=tuple(tokens) if want_logprobs else (),
        tokens=len(tokens) or int(bool(text or reasoning or calls)),
        sum_logprob=sum(token.logprob for token in tokens),
        min_logprob=min((token.logprob for token in tokens), default=None),
    )


def _calls(pieces: Iterable[Any]) -> Iterator[ToolCall]:
    for place, piece in enumerate(pieces):
        index, function = getattr(piece, "index", None), piece.function
        call = ToolCall(
            place if index is None else index, piece.id or "", function.name or "", function.arguments or ""
        )
        if call.id or call.name or call.arguments:
            yield call


def _logprobs(choice: Any) -> list[TokenLogprob]:
    found = getattr(choice, "logprobs", None)
    content = (found.get("content") if isinstance(found, dict) else getattr(found, "content", None)) or ()
    return [
        TokenLogprob(
            _get(entry, "token"),
            _get(entry, "logprob"),
            tuple((_get(top, "token"), _get(top, "logprob")) for top in _get(entry, "top_logprobs") or ()),
        )
        for entry in content
    ]


def _get(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else getattr(entry, name, None)


def usage(found: Any) -> Usage:
    """Token counts; the cached ones are part of the input, as litellm gives them for every provider."""
    prompt = getattr(found, "prompt_tokens_details", None)
    completion = getattr(found, "completion_tokens_details", None)
    return Usage(
        input_tokens=found.prompt_tokens or 0,
        cached_input_tokens=_get(prompt, "cached_tokens") or 0,
        cache_write_input_tokens=getattr(found, "cache_creation_input_tokens", None) or 0,
        output_tokens=getattr(found, "completion_tokens", None) or 0,
        reasoning_tokens=_get(completion, "reasoning_tokens") or 0,
    )
