"""The pictures of the console in docs/guides: `python -m tests.e2e.console.pictures [FOLDER]`, after `make up`.

It asks one real question of a document, and writes a week of made traffic of the team `dev` into the platform's store,
so give it one that may be thrown away (`HEADRACE_DATA_DIR=/tmp/pictures HEADRACE_PORT_BASE=7900 make up`, and the
variables of its file `env`). The made questions are of leave, invoices, accounts and travel; on the last day four in
ten are of machines. A candidate is slower, asks the large model less, and is liked more.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import uuid_utils
from playwright.async_api import async_playwright

from headrace_kit.stores.postgres import Postgres
from headrace_kit.telemetry import genai
from headrace_tracing.adapters.postgres import DAY_S, PostgresTraceStore
from headrace_tracing.domain.content import Content, PassageSeen, Turn
from headrace_tracing.domain.spans import Feedback, Span
from tests.e2e.console.walking import loaded, login

FOLDER = Path("docs/guides/images")
TEAM, DAYS, A_DAY = "dev", 8, 240
HANDBOOK = """# Leave

Everybody has 27 days of leave a year. Up to five days can be taken into the next year until the end of March.

# Travel

Trains are booked by the travel desk. Flights need the signature of a manager.
"""
QUESTION = "How many days of leave does everybody have, and who books trains?"
FORMS = {
    "leave": (
        "How many days of {} do I have left this year?", "Can my manager refuse the {} that I have planned for August?",
        "Do part-time employees get the same {}?", "Can I take {} into the next year?",
    ),
    "invoices": (
        "The {} shows a wrong amount, who corrects it?", "When is the {} of a supplier paid?",
        "Which cost centre do I book this {} on?", "How do I send a {} to a customer abroad?",
    ),
    "accounts": (
        "My {} is locked, who opens it again?", "How do I change the password of my {}?",
        "The {} says that I have no permission, whom do I ask?", "Is a second factor needed for the login to my {}?",
    ),
    "travel": (
        "Who books the {} for a visit to a customer?", "Which {} am I allowed to take?",
        "Who pays when my {} is cancelled?", "Do I need a signature for a {} abroad?",
    ),
    "machines": (
        "The {} leaks at its seal, which spare part do I order?", "What torque do the screws of the {} need?",
        "The {} vibrates and gets hot after an hour, what is wrong?", "How often is the bearing of the {} greased?",
    ),
}  # fmt: skip
WORDS = {
    "leave": ("holiday", "annual leave", "vacation", "parental leave"),
    "invoices": ("invoice", "bill", "credit note", "receipt"),
    "accounts": ("account", "mailbox", "shared drive", "laptop"),
    "travel": ("train", "flight", "hotel", "rental car"),
    "machines": ("pump", "compressor", "gear motor", "hydraulic valve"),
}
MODELS = ("assistant",) * 6 + ("grounded",) * 3 + ("small",)
NS = 10**9
PAGES = (
    ("overview", "", True),
    ("trace", "traces/{trace}", True),
    ("drift", "drift?of=dev/assistant//retrieval_score", False),
    ("topics", "drift?of=dev/assistant//topic_meaning", False),
    ("compare", "compare", True),
)
"""Name of the picture, path of the page, and whether all of it is in the picture."""


def question(chance: random.Random, *, last: bool) -> tuple[str, float]:
    """What somebody asks on a day, and the score of the best passage on it."""
    usual = [kind for kind in FORMS if kind != "machines"]
    kind = "machines" if last and chance.random() < 0.4 else chance.choice(usual)
    score = chance.gauss(0.4 if kind == "machines" else 0.64, 0.09)
    return chance.choice(FORMS[kind]).format(chance.choice(WORDS[kind])), min(max(score, 0.0), 1.0)


def moments(chance: random.Random, day: int, until_s: float) -> Iterator[float]:
    """When requests come on a day, in seconds since 1970: most of them between nine and five."""
    for _ in range(A_DAY):
        while True:
            hour = 24 * chance.random()
            if chance.random() < 0.08 + 0.92 * math.exp(-(((hour - 13) / 3.5) ** 2)):
                break
        if day * DAY_S + hour * 3600 < until_s:
            yield day * DAY_S + hour * 3600


def request(chance: random.Random, at_s: float, text: str, score: float) -> Iterator[Span]:
    """The spans of one request: its own, and one for each stage of a cascade that was asked."""
    candidate = chance.random() < 0.3
    model = chance.choice(MODELS)
    escalated = model != "small" and chance.random() < (0.15 if candidate else 0.3)
    failed = chance.random() < 0.012
    took = chance.lognormvariate(math.log(0.9 if candidate else 0.7), 0.5) * (2.1 if escalated else 1)
    tokens = chance.randrange(40, 180)
    trace, number = f"{chance.getrandbits(128):032x}", f"{chance.getrandbits(60) + 16:016x}"
    start, end = int(at_s * NS), int((at_s + took) * NS)
    yield Span(
        trace_id=trace,
        span_id=number,
        parent_span_id="",
        tenant=TEAM,
        service="gateway",
        name=f"chat {model}",
        kind="server",
        start_ns=start,
        end_ns=end,
        status="error" if failed else "unset",
        attributes={
            genai.OPERATION_NAME: "chat",
            genai.REQUEST_MODEL: model,
            genai.DEPLOYMENT: "large" if escalated else "small",
            genai.ARM: "candidate" if candidate else "baseline",
            genai.USER: f"user-{chance.randrange(40)}",
            genai.CONVERSATION_ID: f"talk-{chance.randrange(10**6):06}",
            genai.COLLECTIONS: ["handbook"],
            genai.RESPONSE_TIME_TO_FIRST_CHUNK: took * chance.uniform(0.2, 0.4),
            **({genai.FINDINGS: ["input:pii.email:mask:1"]} if chance.random() < 0.04 else {}),
        },
        content=Content(
            input=(Turn("user", text),),
            output=(Turn("assistant", "Please see the handbook."),),
            passages=(PassageSeen(1, "handbook", "handbook.md", "c", "handbook.md", "See above.", score, 0, 10),),
        ),
    )
    stages = ("small", "large") if escalated else ("small",)
    for place, deployment in enumerate(stages):
        yield Span(
            trace_id=trace,
            span_id=f"{int(number, 16) + place + 1:016x}",
            parent_span_id=number,
            tenant=TEAM,
            service="gateway",
            name=f"chat {deployment}",
            kind="client",
            start_ns=start + (end - start) * place // 2,
            end_ns=end - (end - start) * (len(stages) - 1 - place) // 2,
            attributes={
                genai.BILLED: True,
                genai.STAGE: place,
                genai.DEPLOYMENT: deployment,
                genai.VERDICT: "rejected" if place + 1 < len(stages) else "accepted",
                genai.USAGE_INPUT_TOKENS: chance.randrange(80, 400),
                genai.USAGE_OUTPUT_TOKENS: tokens,
                genai.COST_NANO_USD: tokens * (400 if place else 90) * (13 if candidate else 10) // 10,
            },
        )


async def made(store: Postgres) -> None:
    """A week of traffic, and feedback on a fifth of it."""
    chance, now = random.Random(0), time.time()
    today = int(now) // DAY_S
    for day in range(today - DAYS, today + 1):
        traces = PostgresTraceStore(store, lambda day=day: day * DAY_S + 5.0)
        told = [
            [*request(chance, at_s, *question(chance, last=day >= today - 1))]
            for at_s in moments(chance, day, now - 60)
        ]
        await traces.write([span for spans in told for span in spans])
        for first, *_ in told:
            liked = 0.85 if first.attributes[genai.ARM] == "candidate" else 0.7
            if chance.random() < 0.2:
                score = 1.0 if chance.random() < liked else -1.0
                id_ = str(uuid_utils.uuid7())
                await traces.add_feedback(Feedback(id_, first.trace_id, TEAM, "", score, "", "", first.end_ns))
    # What was told of these days before they had any traffic is told anew.
    async with store.transaction() as connection:
        for table in ("profiled", "topics_learned"):
            await connection.execute(f"DELETE FROM tracing.{table}")


def asked(folder: Path) -> str:
    """The trace of a question that the handbook answers."""
    document = folder / "handbook.md"
    document.write_text(HANDBOOK)
    command("collections", "create", "handbook", "--acl", "none")
    command("ingest", "handbook", str(document))
    command("chat", "--model", "large", "--max-tokens", "1", "Hello")  # whose weights are read from disk
    said = command("chat", "--collection", "handbook", "--model", "large", "--temperature", "0", "--json", QUESTION)
    return json.loads(said)["headrace"]["trace_id"]


def command(*arguments: str) -> str:
    """What the command of the platform prints."""
    ran = subprocess.run([Path(sys.executable).with_name("headrace"), *arguments], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"headrace {' '.join(arguments)}: {ran.stdout}{ran.stderr}")
    return ran.stdout


def drifted(home: Path) -> None:
    """Tracing looks at the days anew when it starts, and at the meaning of questions once that model embeds."""
    state = json.loads((home / "run" / "state.json").read_text())
    os.kill(state["units"]["tracing"]["pid"], signal.SIGTERM)
    for _ in range(180):
        time.sleep(1)
        try:
            if json.loads(command("drift", "--feature", "topic_meaning", "--json")):
                return
        except (SystemExit, ValueError):
            continue
    raise SystemExit("nothing is known of the topics of questions after three minutes")


async def drawn(folder: Path, trace: str) -> None:
    """Take the pictures."""
    binary = os.environ.get("HEADRACE_BROWSER") or shutil.which("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        page.set_default_timeout(20_000)
        world = SimpleNamespace(url=os.environ["HEADRACE_URL"])
        await login(world, page, os.environ["HEADRACE_API_KEY"])
        for name, path, whole in PAGES:
            await page.goto(f"{world.url}/console/{path.format(trace=trace)}")
            await page.wait_for_timeout(1000)
            await loaded(page)
            if name == "overview":
                await page.get_by_role("button", name="Dark").click()
            await page.wait_for_timeout(1000)
            await page.screenshot(path=folder / f"console-{name}.png", full_page=whole)
            if name == "overview":
                await page.get_by_role("button", name="Light").click()
            print(folder / f"console-{name}.png")
        await browser.close()


async def _filled(dsn: str) -> None:
    store = Postgres(dsn, "tracing")
    await store.open()
    try:
        await made(store)
    finally:
        await store.close()


def main() -> None:
    """Fill the platform, and take the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    home = Path(os.environ.get("HEADRACE_DATA_DIR", ".headrace"))
    with tempfile.TemporaryDirectory() as made_here:
        trace = asked(Path(made_here))
    asyncio.run(_filled((home / "secrets" / "postgres-dsn").read_text().strip()))
    drifted(home)
    asyncio.run(drawn(folder, trace))


if __name__ == "__main__":
    main()
