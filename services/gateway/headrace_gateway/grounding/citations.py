"""Citations of an answer, made by us while it streams, sentence by sentence, from the passages in its prompt."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from headrace_gateway.grounding import sentences
from headrace_gateway.grounding.align import Ground
from headrace_gateway.outcome import Citation, Grounding, Outcome, SentenceSupport, Span
from headrace_kit.config.grounding import Grounding as Settings
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk
from headrace_protos.retrieval.v1.messages_pb2 import Passage

_MARKER = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_MARKERS_FIRST = re.compile(r"(?:\s*\[\d{1,3}(?:\s*,\s*\d{1,3})*\])+")
_UNFINISHED = re.compile(r"\s?\[[\d,\s]{0,24}$")


class Lane:
    """The text of one choice.

    A marker like `[2]` is a hint that halves what its passage needs for a citation, and one that names no passage is
    taken out of the text. With `withhold` a sentence goes out when it is known to be supported, and else never.
    """

    def __init__(self, ground: Ground, settings: Settings, choice: int) -> None:
        self._ground, self._settings, self._choice = ground, settings, choice
        self._text = ""  # as it goes out
        self._held = ""
        self._start = 0
        self.found: list[SentenceSupport] = []
        self._last: tuple[str, int] | None = None
        self.citations: dict[tuple[int, int, int], Citation] = {}
        self.withheld = 0

    def take(self, piece: str, *, final: bool) -> str:
        """The next piece; returns what may go out now."""
        coming = self._held + piece
        self._held = ""
        if not final and (open_ := _UNFINISHED.search(coming)):
            coming, self._held = coming[: open_.start()], coming[open_.start() :]
        coming = _MARKER.sub(self._resolved, coming)
        if self._settings.unsupported == "withhold":
            return self._whole_sentences(coming, final=final)
        self._text += coming
        self._judge(final=final)
        return coming

    def _resolved(self, marker: re.Match[str]) -> str:
        named = [number for number in map(int, re.findall(r"\d+", marker[1])) if self._there(number)]
        return "".join(f"[{number}]" for number in named)

    def _there(self, number: int) -> bool:
        return 1 <= number <= len(self._ground.passages)

    def _judge(self, *, final: bool) -> None:
        while (end := sentences.ending(self._text, self._start)) is not None or (
            final and self._start < len(self._text)
        ):
            end = len(self._text) if end is None else end
            start, self._start = self._start, end
            self._sentence(start, end)

    @staticmethod
    def _end(text: str, start: int, *, final: bool) -> int | None:
        end = sentences.ending(text, start)
        return len(text) if end is None and final and start < len(text) else end

    def _whole_sentences(self, coming: str, *, final: bool) -> str:
        self._held = coming + self._held
        released = ""
        while (end := self._end(self._held, 0, final=final)) is not None:
            sentence, self._held = self._held[:end], self._held[end:]
            start = len(self._text)
            if self._supported(sentence):
                self._text += sentence
                released += sentence
                self._sentence(start, len(self._text))
            else:
                self.withheld += 1
        self._start = len(self._text)
        return released

    def _supported(self, sentence: str) -> bool:
        said = _MARKER.sub("", sentence)
        if not any(letter.isalnum() for letter in said):
            return True
        best = self._ground.supports(said, _hints(sentence))
        return bool(best) and best[0].score >= self._settings.support

    def _sentence(self, start: int, end: int) -> None:
        sentence = self._text[start:end]
        # Markers behind the full stop belong to the sentence before.
        first = _MARKERS_FIRST.match(sentence)
        if first and self._last is not None:
            said, place = self._last
            self._cite(said, self.found[place], _hints(first[0]))
            start += first.end()
            sentence = sentence[first.end() :]
        said = _MARKER.sub("", sentence)
        if not any(letter.isalnum() for letter in said):
            return
        left = len(sentence) - len(sentence.lstrip())
        stripped = sentence.strip()
        found = SentenceSupport(start + left, start + left + len(stripped), 0.0, False, self._choice)
        self.found.append(found)
        self._last = (said, len(self.found) - 1)
        self._cite(said, found, _hints(sentence))

    def _cite(self, said: str, found: SentenceSupport, hinted: frozenset[int]) -> None:
        best = self._ground.supports(said, hinted)
        found.score = round(max((one.score for one in best), default=0.0), 4)
        found.supported = found.score >= self._settings.support
        for place, one in enumerate(best):
            named = one.stretch is not None and one.stretch.passage in hinted
            enough = self._settings.support / 2 if named else self._settings.support
            if one.stretch is None or one.score < enough or not (named or place == 0):
                continue
            key = (one.stretch.passage, one.stretch.start, one.stretch.end)
            cited = self.citations.get(key)
            if cited is None:
                passage = self._ground.passages[one.stretch.passage]
                cited = self.citations[key] = citation(passage, *key)
            place_in_answer = Span(found.start, found.end)
            if place_in_answer not in cited.sentences:
                cited.sentences.append(place_in_answer)
            cited.support = max(cited.support, round(one.score, 4))


def _hints(text: str) -> frozenset[int]:
    """Places of the passages that markers name."""
    return frozenset(int(number) - 1 for found in _MARKER.findall(text) for number in re.findall(r"\d+", found))


def citation(passage: Passage, place: int, start: int, end: int) -> Citation:
    """A stretch of a passage, resolved to its place in the document: its span and the page that it begins on."""
    begins = passage.start + start
    page = passage.page + bisect_right(passage.page_breaks, begins) if passage.page else 0
    return Citation(
        number=place + 1,
        collection=passage.collection,
        document_id=passage.document_id,
        chunk_id=passage.chunk_id,
        span=Span(begins, passage.start + end),
        quote=passage.text[start:end],
        score=passage.score,
        title=passage.title or None,
        page=page or None,
    )


async def cited(
    chunks: AsyncGenerator[GenerateChunk, None],
    passages: Sequence[Passage],
    question: str,
    settings: Settings,
    outcome: Outcome,
) -> AsyncGenerator[GenerateChunk, None]:
    """The answer on its way out, with its citations and what supports each sentence put into the outcome.

    The outcome is whole when the last chunk of a choice goes out.
    """
    ground = Ground(passages, question)
    lanes: dict[int, Lane] = {}
    async with aclosing(chunks):
        async for chunk in chunks:
            final = bool(chunk.finish_reason)
            if chunk.text or final:
                lane = lanes.setdefault(chunk.index, Lane(ground, settings, chunk.index))
                chunk.text = lane.take(chunk.text, final=final)
                if final:
                    if lane.withheld and not lane.found and settings.not_found:
                        chunk.text = settings.not_found
                    _tell(outcome, list(lanes.values()))
            yield chunk


def _tell(outcome: Outcome, lanes: Sequence[Lane]) -> None:
    outcome.citations = sorted(
        (one for lane in lanes for one in lane.citations.values()), key=lambda one: (one.number, one.span.start)
    )
    told = [one for lane in lanes for one in lane.found]
    if told or any(lane.withheld for lane in lanes):
        shares = [one.score for one in told]
        outcome.grounding = Grounding(
            score=round(sum(shares) / len(shares), 4) if shares else 0.0,
            sentences=told,
            withheld=sum(lane.withheld for lane in lanes),
        )
