"""Parts of the adapter for servers: events in pieces, errors, requests. The whole is tested over HTTP."""

from __future__ import annotations

import pytest

from headrace_inference.adapters.openai_compatible.answer import Answer
from headrace_inference.adapters.openai_compatible.errors import Failure, error_of, failure_of_body
from headrace_inference.adapters.openai_compatible.events import Events
from headrace_inference.adapters.pending import FLUSH_S, FLUSH_TOKENS, Pending
from headrace_inference.adapters.stops import Stops
from headrace_inference.ports import Generation, Sampling, TokenLogprob, Usage
from headrace_kit.errors import BadInput, Busy, NotReady, TooLarge, Upstream

STREAM = (
    b': ping\n\ndata: {"choices":[{"index":0,"delta":{"content":"h\xc3\xa9"}}]}\r\n\r\n'
    b'id: 7\nevent: message\ndata:{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_do_not_depend_on_where_the_stream_was_cut(size):
    events = Events()
    found = [event for at in range(0, len(STREAM), size) for event in events.feed(STREAM[at : at + size])]
    assert [choice.delta.content for event in found for choice in event.choices] == ["hé", None]
    assert found[-1].usage.prompt_tokens == 2
    assert events.done


def test_what_is_no_event_stream_is_an_error():
    with pytest.raises(Upstream):
        list(Events().feed(b"data: <html>\n"))
    assert list(Events().feed(b"<html>\n")) == []


def test_an_answer_ends_as_it_should_or_not_at_all():
    answer = Answer(Generation(prompt="x"), keeps_stops=False)
    answer.feed(STREAM, now=0)
    assert answer.complete
    (chunk,) = answer.end()
    assert (chunk.text, chunk.finish_reason) == ("hé", "stop")
    assert chunk.usage == Usage(input_tokens=2, output_tokens=1)
    for missing in (STREAM[:60], STREAM[: STREAM.index(b'data: {"choices":[],')]):
        broken = Answer(Generation(prompt="x"), keeps_stops=False)
        broken.feed(missing, now=0)
        with pytest.raises(Upstream):
            broken.end()


def test_a_server_that_goes_on_after_its_end_is_broken():
    answer = Answer(Generation(prompt="x"), keeps_stops=False)
    answer.feed(b'data: {"choices":[{"index":0,"text":"a","finish_reason":"stop"}]}\n', now=0)
    with pytest.raises(Upstream):
        answer.feed(b'data: {"choices":[{"index":0,"text":"b"}]}\n', now=0)


def test_an_engine_that_gives_up_by_itself_has_failed():
    with pytest.raises(Upstream):
        Answer(Generation(prompt="x"), keeps_stops=False).feed(
            b'data: {"choices":[{"index":0,"text":"","finish_reason":"abort"}]}\n', now=0
        )


def test_arguments_of_a_function_may_come_as_an_object_and_ids_again_and_again():
    answer = Answer(Generation(prompt="x"), keeps_stops=False)
    calls = (
        b'{"index":0,"id":"7","function":{"name":"f","arguments":"{"}}',
        b'{"index":0,"id":"7","function":{"name":"f","arguments":"}"}}',
        b'{"index":1,"function":{"name":"g","arguments":{"a":1}}}',
    )
    for call in calls:
        answer.feed(b'data: {"choices":[{"index":0,"delta":{"tool_calls":[' + call + b"]}}]}\n", now=0)
    answer.feed(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n', now=0)
    (chunk,) = answer.take()
    assert [(call.index, call.id, call.name, call.arguments) for call in chunk.tool_calls] == [
        (0, "7", "f", "{"),
        (0, "", "", "}"),
        (1, "", "g", '{"a":1}'),
    ]
    assert chunk.finish_reason == "tool_calls"


def test_a_token_that_was_impossible_has_a_lowest_log_probability():
    answer = Answer(Generation(prompt="x", sampling=Sampling(top_logprobs=2)), keeps_stops=False)
    answer.feed(
        b'data: {"choices":[{"index":0,"text":"ab","logprobs":{"tokens":["a","b"],"token_logprobs":[-0.5,null],'
        b'"top_logprobs":[{"a":-0.5,"c":-1.0,"d":-2.0},null]}}]}\n',
        now=0,
    )
    (chunk,) = answer.take()
    assert chunk.logprobs == (TokenLogprob("a", -0.5, (("a", -0.5), ("c", -1.0))), TokenLogprob("b", -9999.0))
    assert (chunk.tokens, chunk.min_logprob, chunk.sum_logprob) == (2, -9999.0, -9999.5)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, BadInput, "invalid_request"),
        (422, BadInput, "invalid_request"),
        (413, TooLarge, "request_too_large"),
        (401, Upstream, "engine_auth"),
        (403, Upstream, "engine_auth"),
        (404, NotReady, "not_ready"),
        (429, Busy, "engine_busy"),
        (503, Busy, "engine_busy"),
        (500, Upstream, "engine_failed"),
        (502, Upstream, "engine_failed"),
        (302, Upstream, "engine_failed"),
    ],
)
def test_each_status_has_its_error(status, error, code):
    for body in (b"", b"<html>", b'{"error":{"message":"no"}}', b'{"detail":[{"loc":["body"]}]}'):
        found = error_of(failure_of_body(status, body))
        assert (type(found), found.code) == (error, code)


def test_a_refusal_says_why_unless_that_shows_the_inside():
    assert "temperature must be" in error_of(Failure(400, "temperature must be in [0, 2]\nmore")).message
    for inside in ("Traceback (most recent call last):", "<Foo object at 0x7f>", "/usr/lib/x.py", "http://10.0.0.7/"):
        assert error_of(Failure(400, f"bad {inside}")).message == "the engine refused the request"
    refused = error_of(Failure(400, "no such type"), "json_schema")
    assert (refused.code, refused.param) == ("invalid_json_schema", "response_format.json_schema.schema")
    assert error_of(Failure(400, "no such type"), "regex").code == "invalid_regex"


def test_when_to_come_again_is_a_number_or_a_date():
    for header, seconds in ((None, 1), ("7", 7), ("-3", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", 1)):
        assert error_of(Failure(429), retry_after=header).retry_after_s == seconds


def test_the_first_piece_leaves_at_once_and_later_ones_together():
    pending = Pending(report_logprobs=False)
    assert pending.wait_s(0) is None
    pending.add(0, 0.0, text="a", tokens=1)
    assert pending.wait_s(0.0) == 0
    assert [chunk.text for chunk in pending.take()] == ["a"]
    pending.add(0, 1.0, text="b", tokens=1)
    assert pending.wait_s(1.0) == pytest.approx(FLUSH_S)
    assert pending.wait_s(1.0 + FLUSH_S) == 0
    pending.add(1, 1.0, text="other", tokens=1)
    assert pending.wait_s(1.0) == 0, "another choice's first piece"
    assert [(chunk.index, chunk.text) for chunk in pending.take()] == [(0, "b"), (1, "other")]
    for _ in range(FLUSH_TOKENS):
        pending.add(0, 2.0, text="c", tokens=1)
    assert pending.wait_s(2.0) == 0
    (last,) = pending.end(Usage(1, 0, 2))
    assert (last.text, last.usage.output_tokens) == ("c" * FLUSH_TOKENS, 2)
    (empty,) = pending.end(Usage())
    assert empty.usage == Usage()


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 50])
def test_stop_strings_are_found_wherever_the_text_is_cut(cut):
    def through(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
        found = Stops(stops)
        said = "".join(found.feed(text[at : at + cut]) for at in range(0, len(text), cut))
        return said + found.rest(), found.found

    assert through("one two three", ("two",)) == ("one ", True)
    assert through("one two three", ("three", "o t")) == ("one tw", True)
    assert through("one two three", ("threes",)) == ("one two three", False)
    assert through("aabaabaac", ("aabaac",)) == ("aab", True)
    assert through("one", ()) == ("one", False)
