"""Plays TensorRT-LLM's llmapi model, see ../../README.md."""

import queue
import threading

import numpy as np
import triton_python_backend_utils as pb_utils

FOX = ["The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog."]
CALL = ["<tool_call>\n", '{"name": "get_weather", "arguments": ', '{"city": "Paris"}}', "\n</tool_call>"]
STEP_S = 0.02
ENDLESS_TOKENS = 500


class TritonPythonModel:
    def initialize(self, args):
        family = pb_utils.MetricFamily(name="standin_running", description="Requests", kind=pb_utils.MetricFamily.GAUGE)
        self._family = family
        self._running = family.Metric(labels={"model": args["model_name"]})
        self._aborted = {}
        self._responses = queue.Queue()
        self._thread = threading.Thread(target=self._respond)
        self._thread.start()

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            if _scalar(request, "stop"):
                self._stop(request.request_id(), sender)
                continue
            aborted = self._aborted[request.request_id()] = threading.Event()
            threading.Thread(target=self._infer, args=(request, sender, aborted)).start()

    def finalize(self):
        self._responses.put(None)
        self._thread.join()

    def _respond(self):
        """One thread sends and counts for all requests: Triton 2.51 crashes where several ask it things at once."""
        while (item := self._responses.get()) is not None:
            if isinstance(item, int):
                self._running.increment(item)
                continue
            sender, response, final = item
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0)

    def _stop(self, request_id, sender):
        aborted = self._aborted.get(request_id)
        if aborted is not None:
            aborted.set()
        failure = pb_utils.TritonError("Request cancelled by client", pb_utils.TritonError.CANCELLED)
        self._responses.put((sender, pb_utils.InferenceResponse(error=failure), True))

    def _infer(self, request, sender, aborted):
        self._responses.put(1)
        try:
            self._generate(request, sender, aborted)
        except Exception as error:
            failure = pb_utils.TritonError("Error generating request: %s" % error)
            text = pb_utils.Tensor("text_output", np.asarray(["N/A"], dtype=np.object_))
            self._responses.put((sender, pb_utils.InferenceResponse(output_tensors=[text], error=failure), True))
        finally:
            self._aborted.pop(request.request_id(), None)
            self._responses.put(-1)

    def _generate(self, request, sender, aborted):
        prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
        if prompt.ndim > 1:
            raise ValueError("The current implementation only supports text_input being a 1D tensor.")
        prompt = prompt[0].decode("utf-8")
        stop = pb_utils.get_input_tensor_by_name(request, "sampling_param_stop")
        if stop is not None and isinstance(stop.as_numpy()[0], bytes):
            raise TypeError("TextInputSequence must be str")
        if not _scalar(request, "streaming"):
            raise ValueError("the stand-in streams only")
        if not _scalar(request, "sampling_param_exclude_input_from_output"):
            raise ValueError("the stand-in leaves the prompt out")
        lora = [_scalar(request, "lora_" + part) for part in ("id", "name", "path")]
        if any(part is not None for part in lora):
            if None in lora:
                raise ValueError("lora_id, lora_name, and lora_path must all be provided together")
            prompt += " LORA %d %s %s" % (lora[0], lora[1].decode(), lora[2].decode())
        if "SAY TOO LONG" in prompt:
            raise ValueError("The prompt length 5000 plus max_tokens 3 should not exceed max_seq_len (4096)")
        if "FAIL NOW" in prompt:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        pieces = CALL if "<tools>" in prompt else _said(prompt) or FOX
        limit = int(_scalar(request, "sampling_param_max_tokens"))
        endless = limit >= ENDLESS_TOKENS
        text = ""
        said = 0
        while True:
            ended = not endless and said >= len(pieces)
            if not ended:
                text += pieces[said % len(pieces)]
                said += 1
            reason = "cancelled" if aborted.is_set() else "stop" if ended else "length" if said >= limit else None
            self._responses.put((sender, _response(request, text, reason, said), bool(reason)))
            if reason:
                return
            aborted.wait(STEP_S if endless else 0.002)


def _said(prompt):
    """What the prompt tells the stand-in to say: the words after `ECHO`."""
    _, found, told = prompt.partition("ECHO ")
    return told.partition("<")[0].split()[:1] if found else []


def _response(request, text, reason, said):
    tensors = [pb_utils.Tensor("text_output", np.asarray([text.encode("utf-8")], dtype=np.object_))]
    if _scalar(request, "return_finish_reason"):
        tensors.append(pb_utils.Tensor("finish_reason", np.asarray([str(reason)], dtype=np.object_)))
    if _scalar(request, "sampling_param_return_perf_metrics"):
        # numbers in tensors of texts, as the original makes them
        for name, value in (("total_draft_tokens", 2 * said), ("total_accepted_draft_tokens", said)):
            tensors.append(pb_utils.Tensor(name, np.asarray([value], dtype=np.object_)))
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _scalar(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().item(0)
