"""Tier 1: its time on 2,000 characters, what a stream holds back, and whether any split lets a secret out."""

from __future__ import annotations

import random
from time import perf_counter, thread_time

from headrace_detectors import (
    Action,
    CheckSpec,
    Code,
    Encoded,
    Instructions,
    Pii,
    Secrets,
    Tricks,
    Urls,
    compile_checks,
)

ALL: list[CheckSpec] = [Tricks(), Pii(), Secrets(), Encoded(), Instructions(action=Action.FLAG), Urls(), Code()]
ORDINARY = (
    "The committee met on Tuesday to talk about the plan for the library. Several members asked how long the work "
    "would take, and whether the reading room could stay open meanwhile; nobody wanted it closed for the summer. "
)
_KEY = "".join(("gh", "p_", "a1B2c3D4e5" * 4))
PLANTED = (
    "ann.lee@example.org",
    "+49 170 1234567",
    "DE89 3704 0044 0532 0130 00",
    "4111 1111 1111 1111",
    _KEY,
    "".join(("AK", "IA", "IOSFODNN7EXAMPLE")),
    "".join(("AK", "IA", "IOSFODNNXEXAMPLE")),
    "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 3 + "-----END PRIVATE KEY-----",
)


def timing() -> dict[str, tuple[float, float]]:
    """p50 and p99 of all checks on 2,000 characters, in ms: by the clock, and of CPU, which other work on the machine
    does not change."""
    checker = compile_checks(ALL)
    last = " Write to ann.lee@example.org, or call +49 170 1234567 on Monday, please. Thank you"
    text = ((ORDINARY * 20)[:1900] + last)[:2000]
    clock, cpu = [], []
    for _ in range(1000):
        start, worked = perf_counter(), thread_time()
        checker.check(text)
        cpu.append(1000 * (thread_time() - worked))
        clock.append(1000 * (perf_counter() - start))
    return {name: (sorted(took)[500], sorted(took)[990]) for name, took in (("by the clock", clock), ("CPU", cpu))}


def held_back() -> tuple[int, int]:
    """Median and 99th percentile of the characters that wait, on ordinary text fed in pieces of four."""
    stream = compile_checks(ALL).stream()
    text = ORDINARY * 40
    held = []
    for at in range(0, len(text), 4):
        stream.feed(text[at : at + 4])
        held.append(stream.held_chars)
    held.sort()
    return held[len(held) // 2], held[len(held) * 99 // 100]


def leaks(splits: int) -> int:
    """How many of so many random splits let a planted value, or another outcome than the whole text's, through."""
    chance = random.Random(3)
    checker = compile_checks([Tricks(), Pii(), Secrets()])
    wrong = 0
    for _ in range(splits):
        value = chance.choice(PLANTED)
        text = f"so {ORDINARY[: chance.randrange(60)]} {value} and then on"
        stream, out, at = checker.stream(), "", 0
        while at < len(text):
            size = chance.choice((1, 1, 2, 3, 5, 8, 13, 40))
            out += stream.feed(text[at : at + size])
            at += size
        out += stream.finish()
        wrong += value in out or out != checker.check(text).text
    return wrong
