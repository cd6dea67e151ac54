"""The blocking face of `AsyncHeadrace`: the same calls, made on an event loop in a thread of the client's own."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from headrace.http import AsyncHeadrace
from headrace.retry import Retry
from headrace.stream import ChatStream
from headrace.types.chat import ChatChunk, Outcome, Usage

P = ParamSpec("P")
T = TypeVar("T")
_CANCEL_S = 5.0


class _Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it; an interrupt (Ctrl-C) cancels it and waits for its end."""
        ended = threading.Event()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(lambda _: ended.set())

        self._loop.call_soon_threadsafe(start)
        try:
            ended.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            ended.wait(_CANCEL_S)
            raise
        return tasks[0].result()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._loop.is_closed()

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def _blocking(
    method: Callable[Concatenate[AsyncHeadrace, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Headrace, P], T]:
    """The same method for `Headrace`, with its signature and docstring."""

    @functools.wraps(method)
    def call(self: Headrace, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._client, *args, **kwargs))

    return call


def _streaming(
    method: Callable[Concatenate[AsyncHeadrace, P], ChatStream],
) -> Callable[Concatenate[Headrace, P], BlockingChatStream]:
    @functools.wraps(method)
    def call(self: Headrace, /, *args: P.args, **kwargs: P.kwargs) -> BlockingChatStream:
        return BlockingChatStream(method(self._client, *args, **kwargs), self._loop)

    return call


class BlockingChatStream:
    """`ChatStream` for a `for` loop; leave its `with` block, or call `close`, to stop the answer at the engine."""

    def __init__(self, stream: ChatStream, loop: _Loop) -> None:
        self._stream = stream
        self._loop = loop

    @property
    def text(self) -> str:
        """What was received so far."""
        return self._stream.text

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; None while it goes on."""
        return self._stream.finish_reason

    @property
    def usage(self) -> Usage | None:
        """Tokens; None until the last chunk."""
        return self._stream.usage

    @property
    def headrace(self) -> Outcome:
        """What headrace did for the request; empty until the last chunk with a finish reason."""
        return self._stream.headrace

    def __iter__(self) -> BlockingChatStream:
        return self

    def __next__(self) -> ChatChunk:
        chunk = self._loop.run(self._next())
        if chunk is None:
            raise StopIteration
        return chunk

    def __enter__(self) -> BlockingChatStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop; the connection is closed when this returns."""
        self._loop.run(self._stream.aclose())

    async def _next(self) -> ChatChunk | None:
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            return None  # a StopIteration cannot leave a future


class Headrace:
    """A platform over HTTP, for code without asyncio. Arguments and calls are `AsyncHeadrace`'s.

    Use it as a `with` block or with `close`. Threads may share one.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 120.0,
        retry: Retry | None = None,
        tenant: str | None = None,
    ) -> None:
        self._client = AsyncHeadrace(base_url, api_key, timeout_s=timeout_s, retry=retry, tenant=tenant)
        self._loop = _Loop()

    def __enter__(self) -> Headrace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if not self._loop.closed:
            self._loop.run(self._client.aclose())
            self._loop.close()

    chat = _blocking(AsyncHeadrace.chat)
    chat_stream = _streaming(AsyncHeadrace.chat_stream)
    embed = _blocking(AsyncHeadrace.embed)
    rerank = _blocking(AsyncHeadrace.rerank)
    models = _blocking(AsyncHeadrace.models)
    create_collection = _blocking(AsyncHeadrace.create_collection)
    collections = _blocking(AsyncHeadrace.collections)
    collection = _blocking(AsyncHeadrace.collection)
    delete_collection = _blocking(AsyncHeadrace.delete_collection)
    ingest = _blocking(AsyncHeadrace.ingest)
    ingest_file = _blocking(AsyncHeadrace.ingest_file)
    documents = _blocking(AsyncHeadrace.documents)
    document = _blocking(AsyncHeadrace.document)
    delete_document = _blocking(AsyncHeadrace.delete_document)
    search = _blocking(AsyncHeadrace.search)
    jobs = _blocking(AsyncHeadrace.jobs)
    job = _blocking(AsyncHeadrace.job)
    indexes = _blocking(AsyncHeadrace.indexes)
    reindex = _blocking(AsyncHeadrace.reindex)
    cancel_reindex = _blocking(AsyncHeadrace.cancel_reindex)
    dead_letters = _blocking(AsyncHeadrace.dead_letters)
    retry_dead_letters = _blocking(AsyncHeadrace.retry_dead_letters)
    sources = _blocking(AsyncHeadrace.sources)
    sync_source = _blocking(AsyncHeadrace.sync_source)
    refusals = _blocking(AsyncHeadrace.refusals)
    drop_dead_letters = _blocking(AsyncHeadrace.drop_dead_letters)
    memory = _blocking(AsyncHeadrace.memory)
    set_consent = _blocking(AsyncHeadrace.set_consent)
    remember = _blocking(AsyncHeadrace.remember)
    facts = _blocking(AsyncHeadrace.facts)
    forget = _blocking(AsyncHeadrace.forget)
    recall = _blocking(AsyncHeadrace.recall)
    append_turns = _blocking(AsyncHeadrace.append_turns)
    conversation = _blocking(AsyncHeadrace.conversation)
    conversations = _blocking(AsyncHeadrace.conversations)
    delete_conversation = _blocking(AsyncHeadrace.delete_conversation)
    erase = _blocking(AsyncHeadrace.erase)
    check_guardrails = _blocking(AsyncHeadrace.check_guardrails)
    guardrail_policies = _blocking(AsyncHeadrace.guardrail_policies)
    guardrail_reviews = _blocking(AsyncHeadrace.guardrail_reviews)
    guardrail_review = _blocking(AsyncHeadrace.guardrail_review)
    released_review = _blocking(AsyncHeadrace.released_review)
    decide_review = _blocking(AsyncHeadrace.decide_review)
    guardrail_report = _blocking(AsyncHeadrace.guardrail_report)
    verify_guardrail_audit = _blocking(AsyncHeadrace.verify_guardrail_audit)
    traces = _blocking(AsyncHeadrace.traces)
    measure = _blocking(AsyncHeadrace.measure)
    compare = _blocking(AsyncHeadrace.compare)
    sessions = _blocking(AsyncHeadrace.sessions)
    trace = _blocking(AsyncHeadrace.trace)
    drift = _blocking(AsyncHeadrace.drift)
    keep_trace = _blocking(AsyncHeadrace.keep_trace)
    send_feedback = _blocking(AsyncHeadrace.send_feedback)
    budget = _blocking(AsyncHeadrace.budget)
    usage = _blocking(AsyncHeadrace.usage)
    create_key = _blocking(AsyncHeadrace.create_key)
    keys = _blocking(AsyncHeadrace.keys)
    limit_key = _blocking(AsyncHeadrace.limit_key)
    rotate_key = _blocking(AsyncHeadrace.rotate_key)
    audit = _blocking(AsyncHeadrace.audit)
    reconcile = _blocking(AsyncHeadrace.reconcile)
    revoke_key = _blocking(AsyncHeadrace.revoke_key)
    rollouts = _blocking(AsyncHeadrace.rollouts)
    rollout = _blocking(AsyncHeadrace.rollout)
    start_rollout = _blocking(AsyncHeadrace.start_rollout)
    explain_rollout = _blocking(AsyncHeadrace.explain_rollout)
    approve_rollout = _blocking(AsyncHeadrace.approve_rollout)
    promote_rollout = _blocking(AsyncHeadrace.promote_rollout)
    abort_rollout = _blocking(AsyncHeadrace.abort_rollout)
    deployments = _blocking(AsyncHeadrace.deployments)
    deployment = _blocking(AsyncHeadrace.deployment)
    load_deployment = _blocking(AsyncHeadrace.load_deployment)
    unload_deployment = _blocking(AsyncHeadrace.unload_deployment)
    warm_deployment = _blocking(AsyncHeadrace.warm_deployment)
    config_version = _blocking(AsyncHeadrace.config_version)
