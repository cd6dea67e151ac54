"""Plays NVIDIA's vLLM backend, see ../../README.md."""

import json
import queue
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils

FOX = ["The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog."]
CALL = ["<tool_call>\n", '{"name": "get_weather", "arguments": ', '{"city": "Paris"}}', "\n</tool_call>"]
SAMPLING = {
    "n", "presence_penalty", "frequency_penalty", "repetition_penalty", "temperature", "top_p", "top_k", "min_p",
    "seed", "stop", "stop_token_ids", "ignore_eos", "max_tokens", "min_tokens", "logprobs", "structured_outputs",
    "lora_name",
}  # fmt: skip
"""Fields of vLLM's SamplingParams that a request may set, and the backend's own `lora_name`."""

STRUCTURED = {"json", "regex", "choice", "grammar", "json_object", "whitespace_pattern"}
CONTEXT = 4096
ENDLESS_TOKENS = 500


class _Call:
    """One request; `cancelled` is what the response thread found when it sent the last response."""

    def __init__(self, request):
        self.request = request
        self.sender = request.get_response_sender()
        self.cancelled = False


class TritonPythonModel:
    def initialize(self, args):
        name, kind = "vllm:num_requests_running", pb_utils.MetricFamily.GAUGE
        self._family = pb_utils.MetricFamily(name=name, description="Number of requests running.", kind=kind)
        self._running = self._family.Metric(labels={"model": args["model_name"], "version": args["model_version"]})
        self._responses = queue.Queue()
        self._thread = threading.Thread(target=self._respond)
        self._thread.start()

    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self._infer, args=(_Call(request),)).start()

    def finalize(self):
        self._responses.put(None)
        self._thread.join()

    def _respond(self):
        """One thread sends and counts for all requests: Triton 2.51 crashes where several ask it things at once."""
        while (item := self._responses.get()) is not None:
            if isinstance(item, int):
                self._running.increment(item)
                continue
            call, response, final = item
            call.sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0)
            if not final:
                call.cancelled = call.sender.is_cancelled()

    def _infer(self, call):
        self._responses.put(1)
        try:
            self._generate(call)
        except Exception as error:
            failure = pb_utils.TritonError("Error generating stream: %s" % error)
            text = pb_utils.Tensor("text_output", np.asarray(["N/A"], dtype=np.object_))
            self._responses.put((call, pb_utils.InferenceResponse(output_tensors=[text], error=failure), True))
        finally:
            self._responses.put(-1)

    def _generate(self, call):
        request = call.request
        prompt = _input(request, "text_input").decode("utf-8")
        if not _flag(request, "stream") or not _flag(request, "exclude_input_in_output"):
            raise ValueError("the stand-in streams only")
        sampling = json.loads(_input(request, "sampling_parameters").decode("utf-8"))
        if unknown := set(sampling) - SAMPLING:
            raise TypeError("Unexpected keyword argument %r" % unknown.pop())
        length = len(prompt.split())
        if "SAY TOO LONG" in prompt:
            raise ValueError(
                "The decoder prompt (length %d) is longer than the maximum model length of %d." % (length, CONTEXT)
            )
        if "FAIL NOW" in prompt:
            raise RuntimeError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
        pieces = _pieces(prompt, sampling)
        limit = sampling["max_tokens"]
        endless = limit >= ENDLESS_TOKENS and "structured_outputs" not in sampling
        said = 0
        text = ""
        while True:
            piece = pieces[said % len(pieces)] if endless else pieces[said] if said < len(pieces) else ""
            said += 1
            ended = not endless and said > len(pieces)
            stopped = next((stop for stop in sampling.get("stop", ()) if stop in text + piece), None)
            if stopped:
                piece = (text + piece).split(stopped)[0][len(text) :]
            text += piece
            reason = "stop" if ended or stopped else "length" if said >= limit else None
            response = _response(request, piece, reason, length, sampling)
            self._responses.put((call, response, bool(reason)))
            if reason:
                return
            if call.cancelled:
                failure = pb_utils.TritonError("Request was cancelled", pb_utils.TritonError.CANCELLED)
                self._responses.put((call, pb_utils.InferenceResponse(error=failure), True))
                return
            time.sleep(0.02 if endless else 0.002)


def _pieces(prompt, sampling):
    if "structured_outputs" in sampling:
        wanted = json.loads(sampling["structured_outputs"])
        if unknown := set(wanted) - STRUCTURED:
            raise TypeError("StructuredOutputsParams got an unexpected keyword argument %r" % unknown.pop())
        if "regex" in wanted:
            return ["ab", "12"]
        if "json_object" in wanted:
            return ['{"a"', ": 1}"]
        if wanted["json"].get("type") == "strange":
            raise ValueError("Failed to compile the json schema of structured_outputs: unrecognized type: strange")
        constant = next(iter(wanted["json"]["properties"].values()))["const"]
        return ['{"id"', ": ", json.dumps(constant), "}"]
    if "<tools>" in prompt:
        return CALL
    return FOX


def _response(request, piece, reason, length, sampling):
    tensors = [pb_utils.Tensor("text_output", np.asarray([piece.encode("utf-8")], dtype=np.object_))]
    if _flag(request, "return_finish_reason"):
        tensors.append(pb_utils.Tensor("finish_reason", np.asarray([str(reason)], dtype=np.object_)))
    if _flag(request, "return_logprobs"):
        listed = "null"
        if sampling.get("logprobs") is not None:
            token = {"11": {"logprob": -0.25, "rank": 1, "decoded_token": piece}}
            for rank in range(2, sampling["logprobs"] + 1):
                token[str(10 + rank)] = {"logprob": -float(rank), "rank": rank, "decoded_token": " other"}
            listed = json.dumps([token])
        tensors.append(pb_utils.Tensor("logprobs", np.asarray([listed.encode("utf-8")], dtype=np.object_)))
    if _flag(request, "return_num_input_tokens"):
        tensors.append(pb_utils.Tensor("num_input_tokens", np.asarray(length, dtype=np.uint32)))
    if _flag(request, "return_num_output_tokens"):
        tensors.append(pb_utils.Tensor("num_output_tokens", np.asarray([1], dtype=np.uint32)))
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _input(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0]


def _flag(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return tensor is not None and bool(tensor.as_numpy()[0])
