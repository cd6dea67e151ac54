"""The blocking face."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Iterator

import pytest

from headrace import AsyncHeadrace, Headrace, errors


@pytest.fixture
def blocking(fake) -> Iterator[Headrace]:
    with Headrace(fake.url, "hr_team", timeout_s=10) as client:
        yield client


def test_it_has_every_call_of_the_asynchronous_client():
    public = {name for name, _ in inspect.getmembers(AsyncHeadrace, inspect.isfunction) if not name.startswith("_")}
    assert public - {"aclose"} == {
        name for name, _ in inspect.getmembers(Headrace, inspect.isfunction) if not name.startswith("_")
    } - {"close"}
    assert (
        inspect.signature(Headrace.search).parameters.keys()
        == inspect.signature(AsyncHeadrace.search).parameters.keys()
    )
    assert Headrace.search.__doc__ == AsyncHeadrace.search.__doc__


def test_an_answer_and_an_error(blocking):
    assert blocking.chat("How many?").text == "27 days"
    with pytest.raises(errors.NotFound):
        blocking.trace("f" * 32)


def test_a_stream_is_a_loop(blocking):
    with blocking.chat_stream("How many?") as stream:
        assert [chunk.text for chunk in stream if chunk.text] == ["27 days", " of leave"]
    assert (stream.finish_reason, stream.usage.total_tokens, stream.headrace.deployment) == ("stop", 15, "small")


def test_leaving_a_stream_closes_the_connection(blocking, fake):
    fake.stall_after = 1
    with blocking.chat_stream("x") as stream:
        next(stream)
    assert fake.left.wait(5)


def test_threads_may_share_one(blocking, fake):
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(blocking.chat("x").text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["27 days"] * 8


def test_closing_ends_its_thread(fake):
    client = Headrace(fake.url, "hr_team")
    client.models()
    client.close()
    client.close()
    assert "headrace" not in {thread.name for thread in threading.enumerate()}


def test_an_interrupt_while_waiting_cancels_the_call(blocking, fake):
    fake.stall_after = 1
    stream = blocking.chat_stream("x")
    next(stream)
    main = threading.main_thread().ident
    later = threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        later.start()
        next(stream)
    assert fake.left.wait(5)
    stream.close()
    later.join()
