"""The code that runs inside Triton, with a stand-in for Triton's Python API."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest

PACKAGE = "headrace_inference.triton_models"


class Sender:
    """A response sender that, like Triton's, must not be touched once the response has ended."""

    def __init__(self) -> None:
        self.chunks: list[dict] = []
        self.gone = False
        self.ended = threading.Event()
        self.misused: list[str] = []

    def is_cancelled(self) -> bool:
        if self.ended.is_set():
            self.misused.append("is_cancelled after the end")
        return self.gone

    def send(self, response: bytes | None = None, flags: int = 0) -> None:
        if self.ended.is_set():
            self.misused.append("send after the end")
        if response is not None:
            self.chunks.append(json.loads(response))
        if flags:
            self.ended.set()

    @property
    def text(self) -> str:
        return "".join(chunk.get("text", "") for chunk in self.chunks)


class Request:
    def __init__(self, document: object, key: str = "") -> None:
        self.key = key
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.tensor = SimpleNamespace(as_numpy=lambda: SimpleNamespace(reshape=lambda _: [raw]))
        self.sender = Sender()

    def request_id(self) -> str:
        return self.key

    def get_response_sender(self) -> Sender:
        return self.sender


def fake_triton() -> ModuleType:
    module = ModuleType("triton_python_backend_utils")
    module.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
    module.Tensor = lambda name, array: array[0]
    module.InferenceResponse = lambda output_tensors: output_tensors[0]
    module.get_input_tensor_by_name = lambda request, name: request.tensor
    module.Logger = SimpleNamespace(log_error=lambda message: None)
    return module


@pytest.fixture
def inside(monkeypatch):
    """Imports modules of the models afresh, where Triton's Python API is the stand-in."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
            del sys.modules[name]

    forget()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake_triton())
    yield lambda module: importlib.import_module(f"{PACKAGE}.{module}")
    forget()


@pytest.fixture
def scripted(inside, tmp_path):
    """A loaded scripted model; returns what a user message leads to."""
    module = inside("scripted.model")
    (tmp_path / "1").mkdir()
    settings = {"context_tokens": 50, "max_output_tokens": 30, "max_in_flight": 3}
    (tmp_path / "1" / "settings.json").write_text(json.dumps(settings))
    model = module.TritonPythonModel()
    model.initialize({"model_repository": str(tmp_path), "model_version": "1"})
    yield model
    model.finalize()


def say(model, text: object, **more) -> Sender:
    content = text if isinstance(text, str) else json.dumps(text)
    request = Request({"messages": [{"role": "user", "content": content}], **more})
    model.execute([request])
    return request.sender


def whole(model, text: object, **more) -> Sender:
    sender = say(model, text, **more)
    assert sender.ended.wait(10)
    return sender


def test_a_plain_message_is_echoed_with_usage_on_the_last_chunk(scripted):
    sender = whole(scripted, "hello  wide\nworld")
    assert sender.text == "You said: hello  wide\nworld"
    assert sender.chunks[-1]["finish_reason"] == "stop"
    assert sender.chunks[-1]["usage"] == {"input_tokens": 3, "cached_input_tokens": 0, "output_tokens": 5}
    assert [chunk for chunk in sender.chunks[:-1] if "usage" in chunk or "finish_reason" in chunk] == []
    assert sum(chunk["tokens"] for chunk in sender.chunks if "tokens" in chunk) == 5


def test_max_tokens_and_log_probabilities_are_honoured(scripted):
    sender = whole(scripted, {"tokens": ["a", "b", "c"], "logprob": [-1, -2]}, max_tokens=2, top_logprobs=0)
    assert sender.text == "ab"
    assert sender.chunks[-1]["finish_reason"] == "length"
    entries = [entry for chunk in sender.chunks for entry in chunk.get("logprobs", [])]
    assert [(entry["token"], entry["logprob"]) for entry in entries] == [("a", -1), ("b", -2)]
    assert min(chunk["min_logprob"] for chunk in sender.chunks if "min_logprob" in chunk) == -2


def test_a_scripted_failure_is_the_last_chunk_after_all_that_was_said(scripted):
    sender = whole(scripted, {"tokens": 9, "fail_after": 3, "error": "engine_busy"})
    assert sender.text == " word0 word1 word2"
    assert sender.chunks[-1]["error"]["code"] == "engine_busy"


def test_a_long_prompt_and_a_broken_document_end_with_typed_errors(scripted):
    assert whole(scripted, "word " * 60).chunks[-1]["error"]["code"] == "context_length_exceeded"
    for raw in (b"{", b"[1]"):
        request = Request(raw)
        scripted.execute([request])
        assert request.sender.ended.wait(10)
        assert [chunk["error"]["code"] for chunk in request.sender.chunks] == ["invalid_request"]


def test_a_client_that_leaves_ends_a_silent_answer_and_frees_its_place(scripted):
    silent = [say(scripted, {"tokens": 2, "fail_after": 1, "error": "hang"}) for _ in range(3)]
    assert whole(scripted, "one too many").chunks[-1]["error"]["code"] == "engine_busy"
    for sender in silent:
        sender.gone = True
    for sender in silent:
        assert sender.ended.wait(10)
        assert sender.misused == []
    deadline = time.monotonic() + 10
    while "error" in whole(scripted, "again").chunks[-1]:
        assert time.monotonic() < deadline


def test_a_cancel_right_behind_its_request_ends_it_and_only_it(scripted):
    silent = {"messages": [{"role": "user", "content": '{"tokens": 1, "fail_after": 0, "error": "hang"}'}]}
    first, second = Request(silent, "one"), Request(silent, "two")
    cancels = [Request(b'{"cancel":"one"}'), Request(b'{"cancel":"nobody"}')]
    scripted.execute([first, second, *cancels])
    assert all(cancel.sender.ended.is_set() for cancel in cancels)
    assert first.sender.ended.wait(10)
    assert not second.sender.ended.is_set()
    assert [chunk for chunk in first.sender.chunks if chunk] == []
    scripted.execute([Request(b'{"cancel":"two"}')])
    assert second.sender.ended.wait(10)
    assert (first.sender.misused, second.sender.misused) == ([], [])


def test_triton_is_never_asked_about_a_response_that_has_ended(scripted):
    senders = [whole(scripted, {"tokens": 3, "tokens_per_s": 400}) for _ in range(40)]
    time.sleep(0.05)  # a few more looks of the watcher
    assert [sender.misused for sender in senders if sender.misused] == []


def test_unloading_ends_what_is_open(scripted):
    sender = say(scripted, {"tokens": 1, "fail_after": 0, "error": "hang"})
    while not scripted._calls._watcher._watched:
        time.sleep(0.001)
    scripted._calls.close()
    assert sender.ended.wait(10)


def test_the_first_token_leaves_at_once_and_later_ones_in_batches(inside):
    stream_module = inside("shared.answer_stream")
    sent: list[dict] = []
    stream = stream_module.AnswerStream(
        lambda data: sent.append(json.loads(data)), flush_s=60, hold_s=60, flush_tokens=4
    )
    stream.add(text="a", tokens=1)
    assert sent == [{"index": 0, "text": "a", "tokens": 1}]
    for letter in "bcdef":
        stream.add(text=letter, tokens=1)
    assert sent[1:] == [{"index": 0, "text": "bcde", "tokens": 4}]
    stream.tick(time.monotonic() + 61)
    assert sent[2] == {"index": 0, "text": "f", "tokens": 1}
    stream.tick(time.monotonic() + 200)
    assert sent[3] == {}, "a sign of life when there is nothing to say"
    stream.add(finish_reason="stop")
    stream.end({"output_tokens": 6})
    assert sent[4:] == [{"index": 0, "finish_reason": "stop", "usage": {"output_tokens": 6}}]


def test_a_slow_choice_waits_for_nobody(inside):
    """Tokens that come further apart than one may wait are not held back for one more."""
    sent: list[dict] = []
    stream = inside("shared.answer_stream").AnswerStream(lambda data: sent.append(json.loads(data)), hold_s=-1)
    for letter in "abc":
        stream.add(text=letter, tokens=1)
    assert [chunk["text"] for chunk in sent] == ["a", "b", "c"]


def test_with_many_streams_two_tokens_share_a_chunk(inside):
    """Where a choice's tokens come further apart than chunks may, one waits for the next, whose coming sends both."""
    sent: list[dict] = []
    stream = inside("shared.answer_stream").AnswerStream(
        lambda data: sent.append(json.loads(data)), flush_s=0, hold_s=60
    )
    for letter in "abcdefg":
        stream.add(text=letter, tokens=1)
    assert [chunk["text"] for chunk in sent] == ["a", "bc", "de", "fg"]


def test_what_waits_for_the_next_piece_waits_only_so_long(inside):
    sent: list[dict] = []
    stream = inside("shared.answer_stream").AnswerStream(lambda data: sent.append(json.loads(data)), hold_s=0.9)
    stream.add(text="first", tokens=1)
    sign_of_life = stream.due
    stream.add(text="second", tokens=1)
    assert stream.due < sign_of_life
    assert len(sent) == 1
    stream.tick(stream.due)
    assert [chunk["text"] for chunk in sent] == ["first", "second"]
    stream.tick(stream.due)
    assert sent[2:] == [{}]


def test_looking_often_does_not_put_off_the_sign_of_life(inside):
    sent: list[bytes] = []
    module = inside("shared.answer_stream")
    stream = module.AnswerStream(sent.append)
    start = stream.due - module.BEAT_S
    for tenths in range(1, 10 * module.BEAT_S * 3 + 1):
        stream.tick(start + tenths / 10)
    assert len(sent) in (2, 3)
    assert set(sent) == {b"{}"}


def test_choices_are_batched_apart(inside):
    stream_module = inside("shared.answer_stream")
    sent: list[dict] = []
    stream = stream_module.AnswerStream(lambda data: sent.append(json.loads(data)), flush_s=60)
    for index in (0, 1):
        stream.add(index, text="first", tokens=1)
        stream.add(index, text=" second", tokens=1, finish_reason="stop")
    stream.end({"output_tokens": 4})
    for index in (0, 1):
        assert "".join(chunk["text"] for chunk in sent if chunk["index"] == index) == "first second"
    assert [chunk["index"] for chunk in sent if "usage" in chunk] == [1]


def test_texts_of_like_length_are_batched_within_the_limit(inside):
    texts = inside("shared.texts")
    lengths = [9, 2, 3, 50, 2, 40]
    made = list(texts.batches(lengths, max_tokens=100))
    assert sorted(index for batch in made for index in batch) == list(range(6))
    for batch in made:
        assert max(lengths[index] for index in batch) * len(batch) <= 100
    assert [lengths[index] for batch in made for index in batch] == sorted(lengths)
    assert list(texts.batches([500], max_tokens=100)) == [[0]], "a text longer than the limit goes alone"


def test_a_model_tells_of_itself_beside_its_requests(scripted):
    request = Request(b'{"stats":true}')
    silent = [say(scripted, {"tokens": 1, "fail_after": 0, "error": "hang"}) for _ in range(3)]
    scripted.execute([request])
    assert request.sender.ended.wait(10)
    assert request.sender.chunks == [{"stats": {}}], "the scripted engine measures nothing"
    for sender in silent:
        sender.gone = True
        assert sender.ended.wait(10)


def test_the_script_goes_on_behind_what_another_engine_said_of_it(scripted):
    script = {"tokens": ["one ", "two ", "three"]}
    assert whole(scripted, script, continue_from="one tw").text == "o three"
    assert whole(scripted, script, continue_from="one").text == " two three"
    assert whole(scripted, script, continue_from="one two three").text == ""
    assert whole(scripted, script, continue_from="something else").text == "one two three"
