"""What a request said and was answered, kept by reference on its path and written out off it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_gateway.calls import GenerateCall
from headrace_gateway.outcome import Citation
from headrace_kit.telemetry.requests import Said
from headrace_protos.common.v1.chat_pb2 import AudioPart, ContentPart, ImagePart, Message, ToolCall
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk
from headrace_protos.retrieval.v1.messages_pb2 import Passage

MOST_CHARS = 98_304
"""Characters of one request's content that a trace keeps: of each of input, answer and passages a third."""

_THIRD = MOST_CHARS // 3
_CUT = "…"
_INLINE = "data:"


Asked = tuple[list[bytes], str]
"""Messages, or a prompt."""


@dataclass(slots=True)
class Captured:
    """The content of one request. Messages and prompt are those of the call, as the guardrails left them.

    `sent` is what the caller's were before that, by the message's identity, where they are kept in full. `before` is
    what they were before passages were put into them. `chars` is about how much of the answer is held.
    """

    call: GenerateCall
    sent: tuple[dict[int, bytes], str] | None = None
    before: tuple[Asked, Asked] | None = None
    passages: Sequence[Passage] = ()
    texts: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    calls: list[ToolCall] = field(default_factory=list)
    chars: int = 0

    def before_guarding(self) -> None:
        """Keep the messages as they were sent: guardrails change them next."""
        self.sent = {id(message): message.SerializeToString() for message in self.call.messages}, self.call.prompt

    def before_grounding(self, passages: Sequence[Passage]) -> None:
        """Keep the messages as they are now: passages are put into them next."""
        self.before = self._asked()
        self.passages = passages

    def saw(self, chunk: GenerateChunk) -> None:
        """A piece goes out."""
        if self.chars > _THIRD:
            return
        if text := chunk.text:
            self.chars += len(text)
            self.texts[chunk.index].append(text)
        if calls := chunk.tool_calls:
            self.chars += sum([len(call.arguments) for call in calls])
            self.calls += calls

    def said(self, citations: Sequence[Citation] = ()) -> Said:
        """It as a record holds it."""
        call, options = self.call, self.call.options
        guarded, sent = self.before or self._asked()
        messages, prompt = _short_asked(guarded)
        sent_messages, sent_prompt = _short_asked(sent) if sent != guarded else ([], "")
        passages: list[bytes] = []
        if self.passages:
            passages = [passage.SerializeToString() for passage in self.passages]
            if sum(map(len, passages)) > _THIRD:
                passages = _short_passages(self.passages)
        return Said(
            messages,
            prompt,
            call.sampling.SerializeToString(),
            {index: _short_text("".join(pieces)) for index, pieces in self.texts.items()},
            [piece.SerializeToString() for piece in self.calls],
            passages,
            call.operation,
            call.stream,
            options.collections,
            options.guardrails,
            options.route,
            options.cache,
            sent_messages,
            sent_prompt,
            _quotes(citations) if citations else {},
        )

    def _asked(self) -> tuple[Asked, Asked]:
        """What the call asks now, and the same as it was sent."""
        messages, prompt = [message.SerializeToString() for message in self.call.messages], self.call.prompt
        guarded = messages, prompt
        if self.sent is None:
            return guarded, guarded
        known, prompt = self.sent
        kept = zip(self.call.messages, messages, strict=True)
        return guarded, ([known.get(id(message), now) for message, now in kept], prompt)


def _quotes(citations: Sequence[Citation]) -> dict[int, list[str]]:
    """What is cited, by passage, of as many as there is room for."""
    left, found = _Left(_THIRD), defaultdict[int, list[str]](list)
    for one in citations:
        if left.chars >= len(one.quote):
            found[one.number].append(left.take(one.quote))
    return dict(found)


class _Left:
    """How many characters may still be kept."""

    def __init__(self, chars: int) -> None:
        self.chars = chars

    def take(self, text: str) -> str:
        if len(text) > self.chars:
            text, self.chars = text[: self.chars] + _CUT, 0
        else:
            self.chars -= len(text)
        return text


def _short_asked(asked: Asked) -> Asked:
    messages, prompt = asked
    if prompt:
        return [], _short_text(prompt)
    return (_short_messages(messages) if sum(map(len, messages)) > _THIRD else messages), ""


def _short_text(text: str) -> str:
    return text if len(text) <= _THIRD else text[:_THIRD] + _CUT


def _short_messages(messages: Sequence[bytes]) -> list[bytes]:
    """Too much, cut. The last messages are what an answer is about, so the first go short."""
    left = _Left(_THIRD)
    return [_short(Message.FromString(raw), left).SerializeToString() for raw in reversed(messages)][::-1]


def _short(message: Message, left: _Left) -> Message:
    made = Message(role=message.role, tool_call_id=message.tool_call_id)
    made.parts.extend([_short_part(part, left) for part in message.parts])
    for call in message.tool_calls:
        made.tool_calls.add(id=call.id, name=call.name, arguments=left.take(call.arguments))
    return made


def _short_part(part: ContentPart, left: _Left) -> ContentPart:
    if part.WhichOneof("part") == "text":
        return ContentPart(text=left.take(part.text))
    if part.WhichOneof("part") == "image":
        url = part.image.url
        return ContentPart(image=ImagePart(url=_INLINE if url.startswith(_INLINE) else left.take(url)))
    return ContentPart(audio=AudioPart())


def _short_passages(passages: Sequence[Passage]) -> list[bytes]:
    left = _Left(_THIRD)
    return [
        Passage(
            collection=passage.collection,
            document_id=passage.document_id,
            chunk_id=passage.chunk_id,
            title=left.take(passage.title),
            text=left.take(passage.text),
            score=passage.score,
            start=passage.start,
            end=passage.end,
            page=passage.page,
        ).SerializeToString()
        for passage in passages
    ]
