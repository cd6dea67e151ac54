"""A platform made of answers in memory, behind real sockets on loopback: HTTP by hand, gRPC by grpc.aio."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

KEY, ADMIN = "hr_team", "hr_admin"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
OUTCOME = {
    "trace_id": TRACE_ID,
    "deployment": "small",
    "arm": "",
    "stages": [{"deployment": "small", "verdict": "accepted", "signal": "mean_logprob", "confidence": -0.2}],
    "citations": [
        {
            "number": 1,
            "collection": "handbook",
            "document_id": "leave.md",
            "chunk_id": "c1",
            "span": {"start": 9, "end": 28},
            "quote": "27 days of paid leave",
            "score": 0.8,
        }
    ],
    "guardrails": [],
    "cost_usd": "0.000012",
    "cache": "miss",
}
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
BUILDING = {
    "embedding": "e5",
    "max_tokens": 100,
    "overlap_tokens": 20,
    "state": "building",
    "job": {"id": "j1", "state": "running", "documents": 4, "done": 3},
}
TALK = {
    "id": "trip/1",
    "length": 9,
    "summary": "She goes to Porto.",
    "summarised": 6,
    "left_out": 2,
    "turns": [{"role": "user", "text": "And back?", "number": 9}],
}
TRACE = {
    "trace_id": TRACE_ID,
    "tenant": "dev",
    "start_time": "2026-11-22T10:00:00Z",
    "duration_ms": 41.5,
    "input_tokens": "12",
    "output_tokens": "3",
    "cost_usd": "0.000012",
    "status": "ok",
    "spans": [
        {"span_id": "a1", "parent_span_id": "", "service": "gateway", "name": "chat assistant", "duration_ms": 41.5},
        {
            "span_id": "c3",
            "start_time": "2026-11-22T10:00:01Z",
            "parent_span_id": "a1",
            "service": "inference",
            "name": "GenerateStream",
            "duration_ms": 30.25,
            "status": "error",
            "status_message": "the slot was lost",
            "attributes": {
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 3,
                "headrace.cost_nano_usd": "12000",
            },
        },
        {
            "span_id": "b2",
            "start_time": "2026-11-22T10:00:00.123456789Z",
            "parent_span_id": "a1",
            "service": "retrieval",
            "name": "Search",
            "duration_ms": 4.0,
        },
    ],
}


def chunk(text: str = "", **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": more.pop("finish", None)}
    return json.dumps({"id": "r1", "model": "assistant", "choices": [choice], **more}, ensure_ascii=False)


SMALL = {
    "name": "small",
    "engine": "triton-llamacpp",
    "model": "smollm2-135m",
    "state": "ready",
    "detail": "",
    "tasks": ["generate"],
    "context_tokens": 4096,
    "adapters": ["legal"],
    "accepts": [],
    "version": 2,
    "load_error": None,
    "load": {
        "waiting": 1,
        "running": 2,
        "slots": 4,
        "tokens_per_second": 51.25,
        "first_token_ms": 180,
        "output_token_ms": 19.5,
        "kv_cache_used": 0.5,
    },
}
EVENTS = [
    chunk("27 days"),
    chunk(" of leave"),
    chunk(finish="stop", headrace=OUTCOME),
    json.dumps({"id": "r1", "model": "assistant", "choices": [], "usage": USAGE}),
    "[DONE]",
]


DRIFT = {
    "data": [
        {
            "tenant": "dev", "model": "assistant", "feature": "language", "drifted": True, "psi": 1.25,
            "test": "chi-square", "p_value": 1e-9, "q_value": 3e-9, "count": 120, "reference_count": 900,
            "bins": [{"name": "de", "count": 60, "reference_count": 10}],
            "days": [{"day": "2026-11-28", "count": 120, "psi": 1.25}],
        },
        {
            "tenant": "dev", "model": "assistant", "collection": "handbook", "feature": "input_chars", "psi": 0.01,
            "test": "kolmogorov-smirnov", "count": 7, "reference_count": 70,
            "bins": [{"name": "3", "count": 7, "reference_count": 70, "from": 32, "to": 64}],
        },
    ],
    "tests": 1, "from": "2026-11-28", "to": "2026-11-28", "reference_from": "2026-11-21", "reference_to": "2026-11-27",
}  # fmt: skip
VERDICT = {
    "metric": "errors",
    "state": "beyond",
    "estimate": 0.2,
    "low": 0.08,
    "high": 0.4,
    "margin": 0.01,
    "evidence": 1.0,
    "n_baseline": 900,
    "n_candidate": 40,
}
ROLLED_BACK = {
    "id": "ro2",
    "model": "assistant",
    "state": "rolled_back",
    "steps": 2,
    "reason": "beyond its margin: errors",
    "spec": {"candidate": {"deployment": "small-v2", "guardrails": None, "retry": {"attempts": 3}}},
    "verdicts": [VERDICT],
}
EXPLAINED = {
    "rollout": ROLLED_BACK,
    "transitions": [
        {"at": "2026-11-28T12:00:00+00:00", "state": "running", "weight": 500, "actor": "controller"},
        {"at": "2026-11-28T12:01:00+00:00", "state": "rolled_back", "actor": "controller", "reason": "beyond"},
    ],
    "decisions": [
        {"at": "2026-11-28T12:01:00+00:00", "action": "roll_back", "reason": "beyond its margin", "verdicts": [VERDICT]}
    ],
    "points": [
        {"at": f"2026-11-28T12:00:{10 * number:02}+00:00", "metric": "errors", "state": state, "margin": 0.01, **values}
        for number, (state, values) in enumerate(
            [
                ("undecided", {}),
                ("undecided", {"estimate": 0.1, "low": -0.1, "high": 0.5}),
                ("beyond", {"estimate": 0.2, "low": 0.08, "high": 0.4}),
            ]
        )
    ],
}


@dataclass
class Seen:
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    raw: bytes = b""


@dataclass
class Answer:
    """What to answer with; `cut` closes the connection within the body."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def error(status: int, kind: str, code: str, message: str, param: str | None = None, **headers: str) -> Answer:
    body = {"error": {"message": message, "type": kind, "code": code, "param": param}}
    return Answer(status, body, {"x-headrace-request-id": "req-1", **headers})


class FakePlatform:
    """The public HTTP API; `answers` are used up first, then what each path answers by itself."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: list[Answer] = []
        self.events = list(EVENTS)
        self.stall_after: int | None = None
        self.left = threading.Event()
        self.remains = 0
        self.building = 0
        self.url = ""
        self.config: dict[str, str] = {"active": "c0ffee"}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                self.seen.append(request)
                if self.answers:
                    await _write(writer, self.answers.pop(0))
                elif request.path == "/v1/chat/completions" and request.body.get("stream"):
                    await self._stream(reader, writer)
                else:
                    await _write(writer, self.route(request))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def route(self, request: Seen) -> Answer:
        if request.headers.get("authorization") not in (f"Bearer {KEY}", f"Bearer {ADMIN}"):
            return error(401, "authentication_error", "invalid_api_key", "this API key is not known")
        if request.path.startswith("/v1/admin/") and request.headers["authorization"] != f"Bearer {ADMIN}":
            return error(403, "permission_error", "permission_denied", "this needs the scope admin")
        found = self._answers(request).get(f"{request.method} {request.path}")
        return Answer(200, found) if found is not None else error(404, "not_found_error", "not_found", "no such thing")

    def _answers(self, request: Seen) -> dict[str, Any]:
        body = request.body or {}
        return {
            "POST /v1/chat/completions": {
                "id": "r1",
                "object": "chat.completion",
                "model": "assistant",
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "27 days"}, "finish_reason": "stop"}
                ],
                "usage": USAGE,
                "headrace": OUTCOME,
            },
            "POST /v1/embeddings": {
                "object": "list",
                "model": "minilm",
                "data": [{"index": i, "embedding": [float(i), 1.0]} for i, _ in enumerate(body.get("input", ()))],
                "usage": {"prompt_tokens": 4, "total_tokens": 4},
            },
            "POST /v1/rerank": {"model": "reranker", "results": [{"index": 1, "relevance_score": 2.5}]},
            "GET /v1/models": {"data": [{"id": "assistant", "created": 1, "task": "chat"}, {"id": "minilm"}]},
            "GET /v1/collections": {"data": [{"name": "handbook", "acl": "none", "epoch": "3"}]},
            "POST /v1/collections": {"name": body.get("name"), "acl": body.get("acl", "none")},
            "DELETE /v1/collections/old": {},
            "POST /v1/collections/handbook/documents": {"job": "j1", "accepted": len(body.get("documents", ()))},
            "GET /v1/collections/handbook/documents": {"data": [{"id": "leave.md", "characters": 60, "chunks": 1}]},
            "GET /v1/collections/handbook/documents/a/b.md": {"id": "a/b.md", "text": "stored"},
            "GET /v1/memory/ada": {"collection": "memory", "user": "ada", "consent": True, "consent_at": "2026-11-29"},
            "PUT /v1/memory/ada/consent": {"collection": "memory", "user": "ada", "consent": body.get("granted")},
            "POST /v1/memory/ada/facts": {"job": "j1", "ids": ["tea"]},
            "GET /v1/memory/ada/facts": {"data": [{"id": "tea", "text": "She drinks tea.", "searchable": True}]},
            "DELETE /v1/memory/ada/facts/tea": {},
            "POST /v1/memory/ada/search": {
                "facts": [{"id": "tea", "text": "She drinks tea.", "score": 0.5, "metadata": {}}]
            },
            "GET /v1/memory/ada/conversations": {"data": [{"id": "trip/1", "length": 9}]},
            "GET /v1/memory/ada/conversations/trip/1": TALK,
            "POST /v1/memory/ada/conversations/trip/1/turns": TALK,
            "DELETE /v1/memory/ada/conversations/trip/1": {},
            "DELETE /v1/memory/ada": {"user": "ada", "facts": 1, "turns": 9, "traces": 4, "left": self.remains},
            "GET /v1/collections/handbook/sources": {
                "data": [{"name": "policies", "kind": "folder", "state": "idle"}, {"name": "site", "kind": "web"}]
            },
            "POST /v1/collections/handbook/sources/policies/sync": {
                "name": "policies",
                "kind": "folder",
                "state": "done",
                "seen": 3,
                "added": 2,
                "refused": 1,
            },
            "POST /v1/collections/handbook/sources/site/sync": {
                "name": "site",
                "kind": "web",
                "state": "failed",
                "error": "the sitemap is not XML",
            },
            "GET /v1/collections/handbook/sources/policies/refusals": {
                "data": [{"key": "a.pdf", "reason": "it is locked with a password"}]
            },
            "GET /v1/collections/handbook/jobs": {
                "data": [{"id": "j1", "kind": "ingest", "state": "failed", "documents": 4, "done": 3, "failed": 1}]
            },
            "GET /v1/collections/handbook/indexes": {
                "data": [
                    {"embedding": "minilm", "max_tokens": 200, "overlap_tokens": 20, "state": "active"},
                    *([BUILDING] if [one.path for one in self.seen].count(request.path) <= self.building else []),
                ]
            },
            "POST /v1/collections/handbook/reindex": {"id": "j1", "state": "queued", "documents": 4},
            "DELETE /v1/collections/handbook/reindex": {},
            "GET /v1/collections/handbook/jobs/j1": {
                "id": "j1",
                "state": "failed",
                "documents": 4,
                "done": 3,
                "failed": 1,
                "errors": [{"document_id": "leave.md", "message": "it is empty"}],
            },
            "GET /v1/collections/handbook/dead-letters": {
                "data": [{"id": "17", "document_id": "leave.md", "reason": "it is empty", "attempts": 5}]
            },
            "POST /v1/collections/handbook/dead-letters/retry": {"retried": 1},
            "POST /v1/collections/handbook/dead-letters/drop": {"dropped": 1},
            "POST /v1/collections/handbook/search": {
                "results": [
                    {
                        "document_id": "leave.md",
                        "chunk_id": "c1",
                        "score": 0.9,
                        "text": "Everybody has 27 days of paid leave.",
                        "span": {"start": 0, "end": 36},
                        "metadata": {},
                        "scores": {"bm25": 3.5, "vector": 0.7} if body.get("explain") else None,
                    }
                ]
            },
            "POST /v1/guardrails/check": {
                "action": "mask",
                "text": "mail [email]",
                "findings": [{"check": "pii", "kind": "email", "start": 5, "end": 12, "score": 1.0, "action": "mask"}],
            },
            "GET /v1/traces": {"data": [{k: v for k, v in TRACE.items() if k != "spans"} | {"spans": 3}]},
            f"GET /v1/traces/{TRACE_ID}": TRACE,
            "GET /v1/drift": DRIFT,
            f"POST /v1/traces/{TRACE_ID}/keep": {"trace_id": TRACE_ID, "spans": 3, "saved": True},
            "POST /v1/feedback": {"id": "f1", "score": body.get("score")},
            "GET /v1/usage": {
                "data": [
                    {
                        **dict.fromkeys(request.query.get("group_by", "").split(","), "x"),
                        "requests": 2,
                        "input_tokens": 24,
                        "output_tokens": 6,
                        "cost_usd": "0.000024",
                        "overhead_usd": "0.000004",
                        "cache_hits": 1,
                        "saved_usd": "0.000001",
                    }
                ]
            },
            "POST /v1/admin/keys": {"id": "k1", "key": "hr_new"},
            "GET /v1/admin/keys": {"data": [{"id": "k1", "tenant": "dev", "name": "ci", "scopes": ["read_all"]}]},
            "DELETE /v1/admin/keys/k1": {},
            "POST /v1/admin/keys/k1:limit": {"id": "k1", "tenant": "dev", "limits": {"requests_per_minute": 60}},
            "POST /v1/admin/keys/k1:rotate": {"id": "k1", "key": "hr_newer"},
            "GET /v1/admin/audit": {
                "data": [
                    {
                        "id": "a1",
                        "at": "2026-11-28T12:00:00.000+00:00",
                        "actor": "k1",
                        "action": "key.revoked",
                        "tenant": "dev",
                        "subject": "k2",
                        "before": {"name": "ci"},
                        "after": {"name": "ci", "revoked_at": "2026-11-28T12:00:00+00:00"},
                    }
                ]
            },
            "GET /v1/budget": {
                "tenant": "dev",
                "budgets": [
                    {
                        "per": "day",
                        "budget_usd": "5",
                        "spent_usd": "1.25",
                        "reserved_usd": "0.5",
                        "remaining_usd": "3.25",
                        "resets_at": "2026-11-29T00:00:00Z",
                        "current": False,
                    }
                ],
                "limits": {"requests_per_minute": 60},
            },
            "GET /v1/admin/rollouts": {
                "data": [{"id": "ro1", "model": "assistant", "state": "running", "weight": 500}]
            },
            "GET /v1/admin/rollouts/ro1": {"id": "ro1", "model": "assistant", "state": "running", "steps": 3},
            "GET /v1/admin/rollouts/ro2": ROLLED_BACK,
            "GET /v1/admin/rollouts/ro2/explanation": EXPLAINED,
            "POST /v1/admin/rollouts": {"id": "ro3", "model": "assistant", "state": "running", "steps": 3},
            "POST /v1/admin/rollouts/ro1:approve": {"id": "ro1", "state": "running", "reason": "step 1 was approved"},
            "POST /v1/admin/rollouts/ro1:promote": {"id": "ro1", "state": "promoted"},
            "GET /v1/admin/config": self.config,
            "GET /v1/admin/deployments": {"data": [SMALL]},
            "GET /v1/admin/deployments/small": SMALL,
            **{f"POST /v1/admin/deployments/small:{action}": SMALL for action in ("load", "unload", "warm")},
            "POST /v1/admin/rollouts/ro1:abort": {"id": "ro1", "state": "aborted", "reason": body.get("reason", "")},
        }

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for index, event in enumerate(self.events):
            if index == self.stall_after:
                await writer.drain()
                await reader.read()  # ends when the client closes
                self.left.set()
                break
            writer.write(f"data: {event}\n\n".encode())
            await writer.drain()
        raise ConnectionResetError


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    body = json.loads(raw) if raw and not headers.get("content-type", "").startswith("multipart/") else None
    return Seen(method, unquote(parts.path), dict(parse_qsl(parts.query)), headers, body, raw)


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    lines = [f"HTTP/1.1 {answer.status} X", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (body[:3] if answer.cut else body))
    await writer.drain()
    if answer.cut:
        raise ConnectionResetError


@pytest.fixture
def fake() -> Iterator[FakePlatform]:
    """A running fake platform, in a thread of its own so that blocking code can call it."""
    platform = FakePlatform()
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(platform.serve, "127.0.0.1", 0))
    platform.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield platform

    async def stop() -> None:
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """No settings of the machine reach a test."""
    for name in ("URL", "GRPC", "API_KEY", "ADMIN_KEY", "DATA_DIR", "CONFIG"):
        monkeypatch.delenv(f"HEADRACE_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def client(fake: FakePlatform) -> AsyncIterator[Any]:
    from headrace import AsyncHeadrace, Retry

    async with AsyncHeadrace(fake.url, KEY, timeout_s=10, retry=Retry(first_s=0.001)) as client:
        yield client


@pytest.fixture
def answers() -> Any:
    """`error(...)` and `Answer`, for tests that say what the platform answers next."""
    return error, Answer
