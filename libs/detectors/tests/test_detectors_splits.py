"""Thousands of random splits of texts with planted values: nothing gets out that the whole text would not let out.

`python -m benchmarks.guardrails streams` runs 100,000 of them.
"""

from __future__ import annotations

import random

import pytest

from headrace_detectors import Action, BanList, Canary, Pii, Secrets, Tricks, compile_checks

CHECKER = compile_checks(
    [
        Tricks(),
        Pii(),
        Secrets(),
        BanList(words=("project falcon",), action=Action.MASK),
        Canary(tokens=("Zq7Kp2Vx9Lm4",), action=Action.MASK),
    ]
)
_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
WORDS = (
    "the", "meeting", "of 12", "members", "on Tuesday,", "naïve", "(see", "below)", "is -", "no. 7:", "so", "a@b",
    "10:30;", "日本語", "\n", "\u200b", "call", "sk-", "DE", "key:", "4", "+",
)  # fmt: skip


def planted(chance: random.Random) -> str:
    """A value that must not get out, another one each time."""

    def some(letters: str, size: int) -> str:
        return "".join(chance.choice(letters) for _ in range(size))

    digits = "0123456789"
    kind = chance.randrange(8)
    if kind == 0:
        return f"{some(_LETTERS, 4)}.{some(_LETTERS, 6)}@{some('abcdef', 5)}.example.org"
    if kind == 1:
        return f"+49 170 {some('123456789', 1)}{some(digits, 6)}"
    if kind == 2:
        return chance.choice(("DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "4111 1111 1111 1111"))
    if kind == 3:
        return "gh" + "p_" + some(_LETTERS + digits, 36)
    if kind == 4:
        return "AK" + "IA" + some("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)
    if kind == 5:
        lines = "\n".join(some(_LETTERS + digits, 64) for _ in range(3))
        return f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----"
    return chance.choice(("project  falcon", "Zq7Kp2Vx9Lm4"))


@pytest.mark.parametrize("part", range(8))
def test_no_split_lets_a_planted_value_out(part):
    chance = random.Random(part)
    for _ in range(2500):
        values = [planted(chance) for _ in range(chance.choice((1, 1, 2)))]
        text = ""
        for value in values:
            text += " ".join(chance.choices(WORDS, k=chance.randrange(8))) + f" {value} "
        text += " ".join(chance.choices(WORDS, k=chance.randrange(4)))
        whole = CHECKER.check(text)
        sizes = chance.choice(((1,), (1, 2, 3), (1, 4, 9, 40), (20, 60)))
        stream, out, at = CHECKER.stream(), "", 0
        while at < len(text):
            size = chance.choice(sizes)
            out += stream.feed(text[at : at + size])
            at += size
        out += stream.finish()
        assert out == whole.text
        assert stream.findings == whole.findings
        for value in values:
            assert value not in out, out
