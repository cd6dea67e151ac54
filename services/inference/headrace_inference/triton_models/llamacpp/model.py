"""A GGUF language model on llama.cpp: continuous batching over slots, streaming, cancellation down to the slot."""

import http.client
import json
from pathlib import Path

from engine import Engine
from translate import Answer, engine_request, error_of, events
from triton_stream import Calls, RequestFailed


class TritonPythonModel:
    """Triton's entry point."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self._settings = json.loads((folder / "settings.json").read_text("utf-8"))
        self._engine = Engine(self._settings)
        self._calls = Calls(self._serve, self._settings["max_in_flight"])

    def execute(self, requests):
        self._calls.start(requests)

    def finalize(self):
        self._calls.close()
        self._engine.close()

    def _serve(self, call):
        document = call.document
        path, body = engine_request(document, self._settings["max_output_tokens"])
        answer = Answer(call.stream, document.get("top_logprobs") or 0)
        connection = self._engine.connect()
        call.on_cancel(connection.abort)
        try:
            if not call.cancelled.is_set():
                _read(connection.post(path, body), answer, body)
        except (OSError, http.client.HTTPException) as error:
            if not call.cancelled.is_set():
                raise RequestFailed("engine_failed", "the connection to the engine broke") from error
        finally:
            call.on_cancel(None)
            connection.close()
        if call.cancelled.is_set():
            return
        usage = answer.usage()
        if usage is None or len(answer.finished) != (document.get("n") or 1):
            raise RequestFailed("engine_failed", "the engine ended the answer without a finish reason")
        call.stream.end(usage)


def _read(response, answer, body):
    """Feed the engine's answer to `answer` until it ends."""
    if response.status != 200:
        raise RequestFailed(*error_of(json.loads(response.read()).get("error") or {}, body))
    for event in events(response):
        if "error" in event:
            raise RequestFailed(*error_of(event["error"], body))
        answer.take(event)
