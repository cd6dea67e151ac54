"""Prompts made from generic sentences and from this repository's documentation, or read from files."""

from __future__ import annotations

import random
import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/guides/*.md", "docs/decisions/*.md",
              "services/*/README.md")  # fmt: skip
_PROSE = re.compile(r"[A-Z][^|<>{}]+[.:]")
_LEAST_WORDS = 30

_SUBJECTS = ("The harbour", "A small library", "The night train", "An old bridge", "The village market", "A wide river",
             "The repair shop", "A quiet valley", "The weather station", "The orchard")  # fmt: skip
_VERBS = ("opens before", "was built after", "depends on", "looks out over", "supplies", "was closed during",
          "is famous for", "stands beside", "was painted during", "belongs to")  # fmt: skip
_OBJECTS = ("the first snow", "the long drought", "a row of lime trees", "the old quarry", "three fishing boats",
            "the summer fair", "a narrow stone road", "the ferry landing", "the flour mill",
            "two hundred families")  # fmt: skip
_ASKS = ("Write a short story about this.", "Describe the place in plain words.", "Explain why this matters.",
         "List some questions that a visitor would ask.", "Write a letter that mentions this.")  # fmt: skip
WORDS_A_SENTENCE = 8


def text(seed: int, words: int) -> str:
    """About `words` words of prose, at least a sentence; different for every seed."""
    draw = random.Random(seed)
    return " ".join(
        f"{draw.choice(_SUBJECTS)} {draw.choice(_VERBS)} {draw.choice(_OBJECTS)}."
        for _ in range(max(1, round(words / WORDS_A_SENTENCE)))
    )


def passages() -> list[str]:
    """Paragraphs of the documentation that are prose, in a mixed order that is always the same."""
    files = sorted(path for pattern in _DOCUMENTS for path in _ROOT.glob(pattern))
    blocks = (block for path in files for block in path.read_text("utf-8").split("\n\n"))
    found = [" ".join(block.split()) for block in blocks]
    kept = [one for one in found if len(one.split()) >= _LEAST_WORDS and _PROSE.fullmatch(one)]
    random.Random(1).shuffle(kept)
    return kept


class Prompts:
    """User messages that differ from their first words, so that no prefix cache knows them.

    Args:
        file: one prompt a line, used in turn and numbered; without it they are made.
        quoted: one passage to quote a line; without it they are the documentation's.
    """

    def __init__(self, file: Path | None = None, quoted: Path | None = None) -> None:
        self._lines = _lines(file) if file else []
        self._passages = _lines(quoted) if quoted else passages()
        self._number = 0

    def take(self, count: int, words: int = 16) -> list[str]:
        """The next `count` prompts, of about `words` words where they are made here."""
        return [self._next(words) for _ in range(count)]

    def copying(self, count: int) -> list[str]:
        """Prompts that ask for a text which they hold: each passage once, then again under another number."""
        return [prompt for prompt, _ in self.quoting(count)]

    def quoting(self, count: int) -> list[tuple[str, str]]:
        """The same, each with the passage."""
        found = []
        for _ in range(count):
            self._number += 1
            said = self._passages[self._number % len(self._passages)]
            found.append((f"Passage {self._number}:\n{said}\n\nRepeat the passage word for word.", said))
        return found

    def _next(self, words: int) -> str:
        self._number += 1
        if self._lines:
            return f"{self._number}. {self._lines[self._number % len(self._lines)]}"
        return f"{self._number}. {text(self._number, words)} {_ASKS[self._number % len(_ASKS)]}"


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8").splitlines() if line.strip()]
