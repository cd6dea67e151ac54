"""Prompts made from generic sentences, or read from a file."""

from __future__ import annotations

import random
from pathlib import Path

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


class Prompts:
    """User messages that differ from their first words, so that no prefix cache knows them.

    Args:
        file: one prompt a line, used in turn and numbered; without it they are made.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()] if file else []
        self._number = 0

    def take(self, count: int, words: int = 16) -> list[str]:
        """The next `count` prompts, of about `words` words where they are made here."""
        return [self._next(words) for _ in range(count)]

    def copying(self, count: int, words: int = 80) -> list[str]:
        """Prompts that ask for a text which they hold."""
        found = []
        for _ in range(count):
            self._number += 1
            said = text(self._number, words)
            found.append(f"Passage {self._number}:\n{said}\n\nRepeat the passage word for word.")
        return found

    def _next(self, words: int) -> str:
        self._number += 1
        if self._lines:
            return f"{self._number}. {self._lines[self._number % len(self._lines)]}"
        return f"{self._number}. {text(self._number, words)} {_ASKS[self._number % len(_ASKS)]}"
