"""Requests to and responses of Triton models that are not ours."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest
from tritonclient.grpc import service_pb2 as pb

from headrace_inference.adapters.triton.gpu_answer import GpuAnswer
from headrace_inference.adapters.triton.gpu_prompt import Prompt
from headrace_inference.adapters.triton.gpu_wire import (
    Lora,
    Piece,
    read,
    tensorrtllm_cancel,
    tensorrtllm_request,
    vllm_request,
)
from headrace_inference.adapters.triton.wire import pack_bytes
from headrace_inference.ports import Generation, Sampling
from headrace_kit.errors import Upstream

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
ASKED = Generation(
    messages=({"role": "user", "content": "Hi"},),
    sampling=Sampling(
        temperature=0.5, top_p=0.9, top_k=40, frequency_penalty=0.1, presence_penalty=0.2, seed=7, stop=("a", "b")
    ),
    adapter="legal",
)


def values(request: pb.ModelInferRequest) -> dict[str, tuple]:
    """Input -> datatype and value of a request whose inputs have one element, or texts."""
    found = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        forms = {"BOOL": "<?", "INT32": "<i", "UINT64": "<Q", "FP32": "<f"}
        if tensor.datatype == "BYTES":
            texts, at = [], 0
            while at < len(raw):
                size = int.from_bytes(raw[at : at + 4], "little")
                texts.append(raw[at + 4 : at + 4 + size].decode())
                at += 4 + size
            assert list(tensor.shape) == [len(texts)]
            found[tensor.name] = ("BYTES", *texts)
        else:
            assert list(tensor.shape) == [1]
            found[tensor.name] = (tensor.datatype, struct.unpack(forms[tensor.datatype], raw)[0])
    return found


def test_vllms_backend_gets_its_options_as_one_json_text():
    made = values(vllm_request("m", "id", "prompt", 9, replace(ASKED, want_stats=True), ["aGk="]))
    parameters = json.loads(made.pop("sampling_parameters")[1])
    assert parameters == {
        "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "frequency_penalty": 0.1,
        "presence_penalty": 0.2, "seed": 7, "stop": ["a", "b"], "logprobs": 0, "lora_name": "legal",
    }  # fmt: skip
    assert made.pop("text_input") == ("BYTES", "prompt")
    assert made.pop("image") == ("BYTES", "aGk=")
    assert set(made.values()) == {("BOOL", True)}
    assert set(made) == {
        "stream", "exclude_input_in_output", "return_finish_reason", "return_num_input_tokens",
        "return_num_output_tokens", "return_logprobs",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("form", "structured"),
    [
        ({"type": "regex", "regex": "a+"}, {"regex": "a+"}),
        ({"type": "json_object"}, {"json_object": True}),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}}, {"json": {"type": "null"}}),
        ({"type": "text"}, None),
    ],
)
def test_forms_become_json_in_json_for_vllms_backend(form, structured):
    asked = Generation(prompt="p", sampling=Sampling(response_format=form))
    parameters = json.loads(values(vllm_request("m", "id", "p", 9, asked, []))["sampling_parameters"][1])
    assert ("structured_outputs" in parameters) == (structured is not None)
    if structured:
        assert json.loads(parameters["structured_outputs"]) == structured


def test_tensorrtllms_model_gets_a_tensor_an_option_and_no_stop_strings():
    made = values(tensorrtllm_request("m", "id", "prompt", 9, ASKED, Lora(1, "/adapters/legal"), measure=True))
    assert made.pop("sampling_param_temperature") == ("FP32", 0.5)
    assert made.pop("sampling_param_top_p")[1] == pytest.approx(0.9)
    assert made.pop("sampling_param_frequency_penalty")[1] == pytest.approx(0.1)
    assert made.pop("sampling_param_presence_penalty")[1] == pytest.approx(0.2)
    assert made == {
        "text_input": ("BYTES", "prompt"),
        "streaming": ("BOOL", True),
        "sampling_param_exclude_input_from_output": ("BOOL", True),
        "return_finish_reason": ("BOOL", True),
        "sampling_param_return_perf_metrics": ("BOOL", True),
        "sampling_param_max_tokens": ("INT32", 9),
        "sampling_param_top_k": ("INT32", 40),
        "sampling_param_seed": ("UINT64", 7),
        "lora_id": ("UINT64", 1),
        "lora_name": ("BYTES", "legal"),
        "lora_path": ("BYTES", "/adapters/legal"),
    }
    cancel = tensorrtllm_cancel("m", "id")
    assert cancel.id == "id"
    assert values(cancel) == {"text_input": ("BYTES", ""), "stop": ("BOOL", True)}


def response(**tensors) -> pb.ModelInferResponse:
    made = pb.ModelInferResponse()
    for name, (datatype, raw) in tensors.items():
        made.outputs.add(name=name, datatype=datatype, shape=[1])
        made.raw_output_contents.append(raw)
    return made


def text(value: str) -> tuple[str, bytes]:
    return "BYTES", pack_bytes([value.encode()])


def test_a_response_is_read_by_what_it_holds():
    assert read(response(), 0) is None
    assert read(response(text_output=text("a"), finish_reason=text("None")), 0) == Piece("a", "")
    listed = [
        {
            "5": {"logprob": -1.5, "rank": 3, "decoded_token": "x"},
            "6": {"logprob": -0.1, "rank": 1, "decoded_token": "y"},
        }
    ]
    piece = read(
        response(
            text_output=text("x"),
            finish_reason=text("length"),
            num_input_tokens=("UINT32", struct.pack("<I", 4)),
            num_output_tokens=("UINT32", struct.pack("<I", 1)),
            logprobs=text(json.dumps(listed)),
        ),
        1,
    )
    assert (piece.finish, piece.input_tokens, piece.tokens) == ("length", 4, 1)
    assert (piece.logprobs[0].token, piece.logprobs[0].top) == ("x", (("y", -0.1),))
    measured = read(
        response(text_output=text("x"), total_draft_tokens=text("8"), total_accepted_draft_tokens=text("5")), 0
    )
    assert (measured.draft_tokens, measured.accepted_draft_tokens) == (8, 5)


class Words:
    """Counts words as tokens."""

    def count(self, said: str, *, special: bool = True) -> int:
        return len(said.split()) + special


def answer(*, cumulative: bool, **sampling) -> GpuAnswer:
    prompt = Prompt("p", 3, 9, asks_tools=bool(sampling.get("tools")))
    return GpuAnswer(Generation(prompt="p", sampling=Sampling(**sampling)), prompt, Words(), cumulative=cumulative)


def test_text_so_far_becomes_new_text_and_tokens_are_counted():
    made = answer(cumulative=True)
    said = []
    for so_far, finish in (("one", ""), ("one two three", ""), ("one two three", "stop")):
        made.take(Piece(so_far, finish, draft_tokens=4, accepted_draft_tokens=2))
        said += made.chunks()
    said += made.end()
    assert "".join(chunk.text for chunk in said) == "one two three"
    usage = said[-1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.draft_tokens, usage.accepted_draft_tokens) == (3, 3, 4, 2)
    assert sum(chunk.tokens for chunk in said) == 3
    assert said[-1].finish_reason == "stop"


def test_a_stop_string_ends_the_answer_of_a_model_that_does_not_look_for_it():
    made = answer(cumulative=True, stop=("END",))
    made.take(Piece("one E", ""))
    assert [chunk.text for chunk in made.chunks()] == ["one "]
    made.take(Piece("one END two", ""))
    assert made.stopped
    (last,) = [chunk for chunk in made.end() if chunk.finish_reason]
    assert (last.finish_reason, last.text) == ("stop", "")


def test_calls_are_taken_out_of_the_text():
    made = answer(cumulative=False, tools=(TOOL,))
    for piece in ("Well. <tool_", 'call>{"name": "f", "arg', 'uments": {"a": 1}}</tool_call>'):
        made.take(Piece(piece, "", tokens=1))
    made.take(Piece("", "stop", tokens=0))
    chunks = [*made.chunks(), *made.end()]
    assert "".join(chunk.text for chunk in chunks).strip() == "Well."
    (call,) = [call for chunk in chunks for call in chunk.tool_calls]
    assert (call.name, json.loads(call.arguments)) == ("f", {"a": 1})
    assert chunks[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize("finish", ["", "cancelled", "timeout", "abort"])
def test_an_answer_that_the_engine_gave_up_has_failed(finish):
    made = answer(cumulative=False)
    made.take(Piece("a", finish, tokens=1))
    with pytest.raises(Upstream):
        made.end()
