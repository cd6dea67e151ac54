"""One request from its document to its last chunk, inside Triton or inside the inference service."""

import http.client
import json

from ..shared.failures import RequestFailed
from . import turn
from .answer import Answer, events
from .translate import engine_request, error_of


def serve(engine, settings, call):
    """Answer `call.document` on `call.stream`; returns silently once `call.cancelled` is set.

    Args:
        engine: the `EngineClient` of the loaded engine, or the `Engine` itself.
        settings: the deployment's `settings.json`.
        call: has `document`, `stream` (an `AnswerStream`), `cancelled` (an event) and `on_cancel`.

    Raises:
        RequestFailed: the answer ends with this error.
    """
    document = call.document
    engine = engine.of(document)
    request = engine_request(document, settings, engine.template)
    ticket = engine.slots.ask(turn.wanted(document, request.body))
    call.on_cancel(ticket.leave)
    lease = ticket.wait()
    if lease is None:
        return
    slot = turn.Turn(engine, lease)
    reading = engine.prompts.ask(lease.fresh)
    call.on_cancel(reading.leave)
    answer = Answer(call.stream, request, document.get("top_logprobs") or 0)
    connection = engine.connect()
    try:
        reading.wait()
        call.on_cancel(connection.abort)
        if not call.cancelled.is_set():
            slot.prepare(request.body)
            _read(connection.post(request.path, request.body), answer, request.body, slot, reading)
        if call.cancelled.is_set():
            return
        usage = answer.usage()
        if usage is None or len(answer.finished) != (document.get("n") or 1):
            raise RequestFailed("engine_failed", "the engine ended the answer without a finish reason")
        slot.ended(usage["input_tokens"] + usage["output_tokens"])
        call.stream.end(usage)
    except (OSError, http.client.HTTPException) as error:
        if not call.cancelled.is_set():
            raise RequestFailed("engine_failed", "the connection to the engine broke") from error
    finally:
        call.on_cancel(None)
        connection.close()
        reading.leave()
        slot.close()


def _read(response, answer, body, slot, reading):
    """Feed the engine's answer to `answer` until it ends."""
    if response.status != 200:
        raise RequestFailed(*error_of(json.loads(response.read()).get("error") or {}, body))
    for event in events(response):
        if "error" in event:
            raise RequestFailed(*error_of(event["error"], body))
        slot.started()
        progress = event.get("prompt_progress")
        if progress is None:
            reading.leave()
        else:
            reading.read_to(progress["total"] - progress["processed"])
        answer.take(event)
