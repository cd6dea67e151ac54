"""From responses of a model that says plain text to chunks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from headrace_inference.adapters.pending import Pending
from headrace_inference.adapters.stops import Stops
from headrace_inference.adapters.triton.gpu_prompt import Prompt, Prompter
from headrace_inference.adapters.triton.gpu_wire import Piece
from headrace_inference.ports import Chunk, Generation, ToolCall, Usage
from headrace_inference.triton_models.llamacpp.tool_parser import ToolParser
from headrace_kit.errors import Upstream


class GpuAnswer:
    """The answer to one generation.

    Args:
        generation: what was asked.
        prompt: what the model was given.
        prompter: counts tokens, where the model does not.
        cumulative: each response has the whole text so far, and stop strings are ours to find.
    """

    def __init__(self, generation: Generation, prompt: Prompt, prompter: Prompter, *, cumulative: bool) -> None:
        self._prompt = prompt
        self._prompter = prompter
        self._cumulative = cumulative
        self._pending = Pending(generation.sampling.top_logprobs is not None)
        self._stops = Stops(generation.sampling.stop if cumulative else ())
        names = [tool["function"]["name"] for tool in generation.sampling.tools]
        self._tools: Any = ToolParser(names) if prompt.asks_tools else None
        self._text = ""
        self._sent_tokens = 0
        self._counted: int | None = None
        self._input_tokens = prompt.tokens
        self._finish = ""
        self._last = Piece("", "")

    @property
    def stopped(self) -> bool:
        """A stop string was said: the model need not go on."""
        return self._stops.found

    def take(self, piece: Piece) -> None:
        """One response, see `gpu_wire.read`."""
        said = piece.text[len(self._text) :] if self._cumulative else piece.text
        self._text += said
        self._last = piece
        if piece.input_tokens is not None:
            self._input_tokens = piece.input_tokens
        tokens = int(bool(said)) if piece.tokens is None else piece.tokens
        if piece.tokens is not None:
            self._counted = (self._counted or 0) + piece.tokens
        self._finish = piece.finish
        text, calls = self._parsed(self._stops.feed(said), last=False)
        self._sent_tokens += tokens
        if text or calls or tokens or piece.logprobs:
            self._pending.add(0, time.monotonic(), text=text, tools=calls, tokens=tokens, logprobs=piece.logprobs)

    def _parsed(self, text: str, *, last: bool) -> tuple[str, list[ToolCall]]:
        """Text and function calls that are certain by now."""
        if self._tools is None:
            return text, []
        said, found = self._tools.feed(text)
        if last:
            more, others = self._tools.end()
            said, found = said + more, found + others
        return said, [ToolCall(call["index"], call["id"], call["name"], call["arguments"]) for call in found]

    def chunks(self) -> list[Chunk]:
        """What was said since the last call."""
        return self._pending.take()

    def end(self) -> Sequence[Chunk]:
        """The last chunks.

        Raises:
            Upstream: the model ended its answer in the middle.
        """
        finish = "stop" if self._stops.found else self._finish
        if finish not in ("stop", "length"):
            reason = f": {finish}" if finish else " without a finish reason"
            raise Upstream(f"the engine ended the answer itself{reason}", code="engine_failed")
        output = self._counted
        if output is None:
            output = max(self._sent_tokens, self._prompter.count(self._text, special=False))
        text, calls = self._parsed(self._stops.rest(), last=True)
        if self._tools is not None and self._tools.calls and finish == "stop":
            finish = "tool_calls"
        # Several tokens may have come as one response: what was not counted on the way is counted here.
        missing = max(0, output - self._sent_tokens)
        self._pending.add(0, time.monotonic(), text=text, tools=calls, tokens=missing, finish_reason=finish)
        return self._pending.end(
            Usage(
                input_tokens=self._input_tokens,
                output_tokens=output,
                draft_tokens=self._last.draft_tokens,
                accepted_draft_tokens=self._last.accepted_draft_tokens,
            )
        )
