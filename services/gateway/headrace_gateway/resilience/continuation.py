"""How an answer that broke off goes on: from the text that the client has, and never over it again."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_protos.common.v1.chat_pb2 import Sampling
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest

_CHARS_PER_TOKEN = 4


class Splice:
    """Joins the text of a second engine to the text of a first, by position.

    The second one goes on from `prefix`, the first one's text without the white space at its end: templates cut that
    off, and tokens begin with it. What it then says of that white space has been sent and is left out.

    A stop string that began in the first text ends the answer where it is completed; until that is known, what may
    belong to it is held back. What of it was sent before stays sent.

    Args:
        text: what the client has.
        stops: where the answer ends.
    """

    def __init__(self, text: str, stops: Sequence[str] = ()) -> None:
        self.prefix = text.rstrip()
        self.stopped = False
        self._skip = text[len(self.prefix) :]
        self._rests = [stop[cut:] for stop in stops for cut in range(1, len(stop)) if text.endswith(stop[:cut])]
        self._held = ""

    def take(self, text: str, *, last: bool) -> str:
        """What of the next piece the client gets. `last`: no more follows."""
        if self._skip:
            same = 0
            while same < min(len(text), len(self._skip)) and text[same] == self._skip[same]:
                same += 1
            text, rest = text[same:], self._skip[same:]
            self._skip = "" if text else rest
        if not self._rests:
            return text
        text = self._held + text
        if any(text.startswith(rest) for rest in self._rests):
            self.stopped, self._held = True, ""
            return ""
        if not last and any(rest.startswith(text) for rest in self._rests):
            self._held = text
            return ""
        self._rests, self._held = [], ""
        return text


class Said:
    """What the client has of an answer.

    Args:
        request: what was asked for.
    """

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._texts: list[str] = []
        self._splice: Splice | None = None
        self.tokens = 0
        """Output tokens of the attempts that broke off."""
        self.whole = not _goes_on(request.sampling)
        """The answer must come whole from one engine."""

    def take(self, chunk: GenerateChunk) -> GenerateChunk | None:
        """What of an engine's chunk goes to the client; None: nothing."""
        if self._splice is not None:
            chunk.text = self._splice.take(chunk.text, last=bool(chunk.finish_reason))
            if self._splice.stopped:
                chunk.finish_reason = "stop"
            elif not (chunk.text or chunk.finish_reason or chunk.HasField("usage")):
                return None
        if chunk.reasoning or chunk.tool_calls:
            self.whole = True
        if chunk.text:
            self._texts.append(chunk.text)
        return chunk

    @property
    def stopped(self) -> bool:
        """The answer ends here, whatever the engine goes on to say."""
        return self._splice is not None and self._splice.stopped

    def broke_off(self, tokens: int) -> None:
        """An engine died after so many output tokens."""
        self.tokens += tokens
        self._texts = ["".join(self._texts)]
        self._splice = Splice(self._texts[0], self._request.sampling.stop)

    @property
    def prefix(self) -> str:
        """What another engine is to go on from."""
        return self._splice.prefix if self._splice is not None else ""

    def rest(self, most_tokens: int) -> GenerateRequest | None:
        """What to ask another engine for; None where the answer has all its tokens.

        Args:
            most_tokens: the limit where the request names none; 0 for no limit.
        """
        request = GenerateRequest()
        request.CopyFrom(self._request)
        request.continue_from = self.prefix
        limit = request.sampling.max_tokens if request.sampling.HasField("max_tokens") else most_tokens
        if limit:
            if limit <= self.tokens:
                return None
            request.sampling.max_tokens = limit - self.tokens
        return request


def _goes_on(sampling: Sampling) -> bool:
    """Whether an answer can be made by two engines: one with a form, calls, several choices or probabilities cannot."""
    constrained = sampling.response_format.type not in ("", "text")
    tools = bool(sampling.tools) and sampling.tool_choice != "none"
    return not (constrained or tools or sampling.n > 1 or sampling.HasField("top_logprobs"))
