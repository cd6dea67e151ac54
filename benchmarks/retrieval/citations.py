"""Whether citations are right: questions of XQuAD, a quarter of them about paragraphs that are left out.

Passages are found by the running service and put into the prompt as the gateway does; a real model answers, and the
gateway's own code aligns the answer, which comes in pieces. Then the same is done with answers that are made:

    quoted     the sentence of the paragraph that holds the answer
    restated   the question with the answer in the place of the word that asks
    swapped    both of them with another question's answer in its place, which no document says

A citation is right when it quotes the place that answers the question: its document is the question's paragraph, and
the answer stands in the quote. Everything else counts as wrong, whatever it says: a sentence about something else of
that paragraph, and each citation where there is nothing to cite. So the true share of right ones is higher.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.retrieval import serving
from headrace_gateway.calls import GenerateCall
from headrace_gateway.grounding import sentences
from headrace_gateway.grounding.citations import cited
from headrace_gateway.grounding.prompt import fitting, ground
from headrace_gateway.outcome import Outcome
from headrace_kit.config.grounding import Grounding
from headrace_local.platform import Platform
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest
from headrace_protos.retrieval.v1.messages_pb2 import Passage

CONTEXT_TOKENS = 4096
QUESTIONS, LEFT_OUT = 100, 4
"""Questions that are asked, and of which share (one in so many) the paragraph is left out."""

PASSAGES, MOST_TOKENS = 4, 64
NOBODY = "none"
"""In the place of a model: only answers that are made."""

_PIECE = re.compile(r"\s*\S{1,7}")
_ASKING = re.compile(r"\b(?:how (?:many|much)|what|which|who|whom|whose|when|where|why|how)\b", re.IGNORECASE)


class Asked(msgspec.Struct):
    """A question with what was found and answered.

    `document` is empty where its paragraph is left out. `sentence` is the one that answers, `other` another question's
    answer. Without `passages` nothing was searched for yet; `answer` is the model's, None before it was asked.
    """

    question: str
    answers: list[str]
    document: str
    sentence: str
    other: str
    passages: list[dict[str, str | int]] | None = None
    answer: str | None = None


@dataclass(slots=True)
class Row:
    """What became of one kind of answers.

    `right` of `cited` citations quote the place that answers. `held` questions were answered truly while their
    paragraph was among the passages; `found` of those have a right citation. `unanswerable` answers have nothing to
    cite, as their paragraph is left out, or what they say is wrong; `silent` of them have no citation at all.
    """

    kind: str
    true: bool
    cited: int = 0
    right: int = 0
    held: int = 0
    found: int = 0
    unanswerable: int = 0
    silent: int = 0

    @property
    def precision(self) -> float:
        """Share of the citations that are right."""
        return self.right / self.cited if self.cited else 1.0


def of(data: Path, threads: int, model: str, kept: Path | None) -> list[Row]:
    """Ask, answer and align.

    Args:
        model: deployment that answers; `NOBODY`: only made answers are aligned.
        kept: file of questions, passages and answers, written as they come and gone on from.
    """
    asked, texts = questions(data)
    if kept is not None and kept.is_file():
        asked = msgspec.json.decode(kept.read_bytes(), type=list[Asked])
    answered = model == NOBODY or all(one.answer is not None for one in asked)
    if not answered or any(one.passages is None for one in asked):

        def keep() -> None:
            if kept is not None:
                kept.write_bytes(msgspec.json.format(msgspec.json.encode(asked)))

        models = () if model == NOBODY else (model,)
        with serving.platform(["triton", "inference", "retrieval"], threads, models) as running:
            asyncio.run(_ask(running, asked, texts, model, keep))
    return asyncio.run(align(asked, model))


async def align(asked: Sequence[Asked], model: str) -> list[Row]:
    """Cite the answers as the gateway does, and count."""
    kinds: list[tuple[str, bool, Callable[[Asked], str | None]]] = [
        (f"{model}'s", True, lambda one: one.answer),
        ("quoted", True, lambda one: one.sentence),
        ("restated", True, lambda one: _restated(one.question, one.answers[0])),
        ("quoted, swapped", False, lambda one: one.sentence.replace(one.answers[0], one.other)),
        ("restated, swapped", False, lambda one: _restated(one.question, one.other)),
    ]
    rows = []
    for kind, true, text_of in kinds:
        row = Row(kind, true)
        for one in asked:
            if (text := text_of(one)) is not None:
                _count(row, one, text, await _cited(one, text))
        if row.unanswerable:
            rows.append(row)
    return rows


async def _cited(one: Asked, text: str) -> Outcome:
    outcome = Outcome()
    passages = [Passage(**fields) for fields in one.passages or ()]  # type: ignore[arg-type]
    async for _ in cited(_streamed(text), passages, one.question, Grounding(), outcome):
        pass
    return outcome


async def _streamed(text: str) -> AsyncGenerator[GenerateChunk, None]:
    for piece in _PIECE.findall(text):
        yield GenerateChunk(text=piece)
    yield GenerateChunk(finish_reason="stop")


def _count(row: Row, one: Asked, text: str, outcome: Outcome) -> None:
    right = [
        citation
        for citation in outcome.citations
        if row.true and citation.document_id == one.document and _holds(citation.quote, one.answers)
    ]
    row.cited += len(outcome.citations)
    row.right += len(right)
    if not (one.document and row.true):
        row.unanswerable += 1
        row.silent += not outcome.citations
    elif any(passage["document_id"] == one.document for passage in one.passages or ()) and _holds(text, one.answers):
        row.held += 1
        row.found += bool(right)


def _holds(text: str, answers: Sequence[str]) -> bool:
    return any(f" {_plain(answer)} " in f" {_plain(text)} " for answer in answers)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _restated(question: str, answer: str) -> str:
    """`Who won?` and `Denver` make `Denver won.`"""
    said = question.rstrip(" ?")
    restated = _ASKING.sub(lambda _: answer, said, count=1)
    return f"{restated}." if restated != said else f"{said}: {answer}."


def questions(data: Path) -> tuple[list[Asked], list[tuple[str, str, str]]]:
    """The questions, without passages yet, and the documents (id, title, text) that are there."""
    there: list[Asked] = []
    missing: list[Asked] = []
    texts: list[tuple[str, str, str]] = []
    for number, paragraph in enumerate(_paragraphs(data)):
        left_out = number % LEFT_OUT == LEFT_OUT - 1
        if not left_out:
            texts.append((str(number), "", paragraph["context"]))
        for one in paragraph["qas"]:
            answer = one["answers"][0]
            sentence = _sentence(paragraph["context"], answer["answer_start"])
            asked = Asked(one["question"], [answer["text"]], "" if left_out else str(number), sentence, "")
            (missing if left_out else there).append(asked)
    without = QUESTIONS // LEFT_OUT
    chosen = [*_spread(there, QUESTIONS - without), *_spread(missing, without)]
    for place, one in enumerate(chosen):
        others = [other.answers[0] for other in (*chosen[place + 1 :], *chosen)]
        one.other = next(text for text in others if not _holds(text, one.answers) and _alike(text, one.answers[0]))
    return chosen, texts


def _alike(one: str, other: str) -> bool:
    """Whether one answer could stand where the other does: both are numbers, or neither is."""
    return one[:1].isdigit() == other[:1].isdigit()


def _paragraphs(data: Path) -> Iterator[dict[str, Any]]:
    for article in json.loads((data / "xquad.en.json").read_text("utf-8"))["data"]:
        yield from article["paragraphs"]


def _sentence(text: str, place: int) -> str:
    return next(text[start:end] for start, end in sentences.spans(text) if start <= place < end)


def _spread(asked: Sequence[Asked], wanted: int) -> list[Asked]:
    return [asked[place * len(asked) // wanted] for place in range(wanted)]


async def _ask(
    running: Platform,
    asked: Sequence[Asked],
    texts: Sequence[tuple[str, str, str]],
    model: str,
    keep: Callable[[], None],
) -> None:
    service, models = serving.Retrieval(running, "citations"), serving.Inference(running)
    try:
        await service.ready()
        if any(one.passages is None for one in asked):
            await service.fill(texts)
        for one in asked:
            if one.passages is None:
                found = fitting(await service.passages(one.question, PASSAGES), CONTEXT_TOKENS)
                one.passages = [_fields(passage) for passage in found]
        keep()
        for one in asked:
            if model != NOBODY and one.answer is None:
                one.answer = await _answer(models, model, one)
                keep()
    finally:
        await models.close()
        await service.close()


async def _answer(models: serving.Inference, model: str, one: Asked) -> str:
    call = GenerateCall(model, messages=[Message(role="user", parts=[ContentPart(text=one.question)])])
    ground(call, [Passage(**fields) for fields in one.passages or ()])  # type: ignore[arg-type]
    sampling = Sampling(temperature=0, max_tokens=MOST_TOKENS)
    return await models.generate(GenerateRequest(deployment=model, messages=call.messages, sampling=sampling))


def _fields(passage: Passage) -> dict[str, str | int]:
    names = ("collection", "document_id", "chunk_id", "start", "end", "text")
    return {name: getattr(passage, name) for name in names}
