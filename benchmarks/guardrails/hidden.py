"""Orders hidden in passages: planted into documents, and judged by what saw nothing of the source of either.

BIPIA's attacks are of its training split; each of its categories is a source of its own. A request that is harmless
from a person, such as one for a poem, is an order too where it stands in a document.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.guardrails.sources import Item
from headrace_guardrails.injection.ensemble import Ensemble
from headrace_guardrails.injection.orders import forms, sentences
from headrace_guardrails.injection.train import Rows, threshold, train

_MOST_CHARS = 1500
_LEAST_SENTENCES = 3
_TIMES = 2
_BUDGET = 0.006
_ORDERS = {
    f"own/{name}"
    for name in (
        "indirect",
        "data_orders",
        "goal_hijack",
        "override",
        "override_short",
        "mode",
        "prompt_leak",
        "fake_turns",
        "fake_dialogue",
    )
}
_REQUESTS = {f"own-benign/{name}" for name in ("everyday", "fiction", "trigger_words_everyday")}
_CARRIERS = {"e-mails", "readmes", "xquad-paragraphs", "cranfield-documents"}

Embed = Callable[[Sequence[str]], NDArray[np.float64]]


def learn(data: Path, items: Sequence[Item], embed: Embed, version: str) -> tuple[Ensemble, list[tuple[str, int, int]]]:
    """Train on everything; returns the ensemble, and by source how many texts and how many of them were flagged when
    their source was held out."""
    chance = random.Random(3)
    documents = [(item.source, item.text[:_MOST_CHARS]) for item in items if _is_document(item)]
    read = []
    for _, text in documents:
        pieces = [piece for _, piece in sentences(text)]
        read.append((pieces, embed(pieces)))
    carriers = [
        place
        for place, (source, _) in enumerate(documents)
        if source in _CARRIERS and len(read[place][0]) >= _LEAST_SENTENCES
    ]
    sources = [source for source, _ in documents]
    vectors = [found for _, found in read]
    shapes = [forms(pieces, found) for pieces, found in read]
    for source, text in _orders(data, items):
        order = [piece for _, piece in sentences(text)]
        meant = embed(order)
        for _ in range(_TIMES):
            pieces, around = read[chance.choice(carriers)]
            at = chance.choice((0, len(pieces) // 2, len(pieces)))
            whole = forms([*pieces[:at], *order, *pieces[at:]], np.vstack([around[:at], meant, around[at:]]))
            sources.append(source)
            vectors.append(meant)
            shapes.append(whole[at : at + len(order)])
    numbers = np.repeat(np.arange(len(sources)), [len(found) for found in vectors])
    rows = Rows(np.vstack(vectors), np.vstack(shapes), None, numbers)
    labels = np.arange(len(sources)) >= len(documents)
    ordinary = ~labels & np.array([not source.startswith("own-benign/") for source in sources])
    budgets = dict.fromkeys(("retrieved", "tool_result"), (ordinary, _BUDGET))
    named = [f"{'order' if label else 'document'}: {name}" for name, label in zip(sources, labels, strict=True)]
    ensemble, held_out = train(rows, labels, named, budgets, version)
    flagged = held_out > threshold(held_out, ordinary, _BUDGET)
    return ensemble, list(_counted(named, flagged))


def _is_document(item: Item) -> bool:
    return item.direction == "retrieved" and not item.attack


def _orders(data: Path, items: Sequence[Item]) -> Iterator[tuple[str, str]]:
    for item in items:
        if item.source in (_ORDERS if item.attack else _REQUESTS):
            yield item.source, item.text
    for kind in ("text", "code"):
        found = json.loads((data / f"guardrails/bipia/{kind}_attack_train.json").read_text())
        for category, attacks in found.items():
            for attack in attacks:
                yield f"bipia-{kind}/{category}", attack


def _counted(sources: Sequence[str], flagged: NDArray[np.bool_]) -> Iterator[tuple[str, int, int]]:
    groups: dict[str, list[bool]] = {}
    for source, hit in zip(sources, flagged, strict=True):
        name = source.split("/")[0] if "bipia" in source else source
        groups.setdefault(name, []).append(bool(hit))
    for name, hits in groups.items():
        yield name, len(hits), sum(hits)
