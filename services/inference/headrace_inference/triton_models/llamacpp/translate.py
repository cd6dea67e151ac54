"""Between headrace's wire format and llama.cpp's OpenAI-shaped HTTP API."""

import json

ERROR_CODES = {
    "exceed_context_size_error": ("context_length_exceeded", "messages"),
    "invalid_request_error": ("invalid_request", None),
    "not_supported_error": ("unsupported", None),
    "unavailable_error": ("engine_not_ready", None),
}
"""llama.cpp's error types -> our code and the field at fault. Anything else is `engine_failed`."""

_PASSED_ON = (
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "n",
    "response_format",
    "parallel_tool_calls",
)


def engine_request(document, default_max_tokens):
    """Path and body of the engine's call."""
    body = {name: document[name] for name in _PASSED_ON if document.get(name) is not None}
    body["stream"] = True
    body["stream_options"] = {"include_usage": True}
    body["timings_per_token"] = True
    # Progress while the prompt is read makes the engine notice a closed socket between two batches, not once a second.
    body["return_progress"] = True
    body["cache_prompt"] = True
    body["max_tokens"] = document.get("max_tokens") or default_max_tokens
    top = document.get("top_logprobs")
    wanted = None if top is None and not document.get("want_stats") else max(1, top or 0)
    if "messages" not in document:
        body["prompt"] = document.get("prompt", "")
        if wanted:
            body["logprobs"] = wanted
        return "/v1/completions", body
    body["messages"] = document["messages"]
    if wanted:
        body["logprobs"] = True
        body["top_logprobs"] = wanted
    tools = document.get("tools")
    choice = document.get("tool_choice")
    if tools and choice != "none":
        if choice and choice not in ("auto", "required"):
            # llama.cpp cannot name a function: offering only that one and requiring a call is the same.
            tools = [tool for tool in tools if tool["function"]["name"] == choice]
            choice = "required"
        body["tools"] = tools
        body["tool_choice"] = choice or "auto"
    return "/v1/chat/completions", body


def error_of(error, body):
    """(code, message, param) of llama.cpp's error object for the engine's request `body`."""
    code, param = ERROR_CODES.get(error.get("type"), ("engine_failed", None))
    constrained = (body.get("response_format") or {}).get("type") == "json_schema"
    if code == "invalid_request" and constrained:
        # The rest of a request was checked before it came here: what the engine can refuse is the schema.
        code, param = "invalid_json_schema", "response_format.json_schema.schema"
    return code, error.get("message") or "the engine failed", param


def events(lines):
    """The JSON documents of a server-sent event stream, until `[DONE]` or the end."""
    for line in lines:
        line = line.strip()
        if line.startswith(b"data: "):
            data = line[6:]
            if data == b"[DONE]":
                return
            yield json.loads(data)
        elif line.startswith(b"error: "):
            yield {"error": json.loads(line[7:])}


class Answer:
    """Feeds the engine's events to an `AnswerStream` and gathers usage.

    Args:
        stream: where the pieces go.
        top: alternatives a token to report.
    """

    def __init__(self, stream, top):
        self._stream = stream
        self._top = top
        self._counted = {}
        self._usage = None
        self.finished = set()

    def take(self, event):
        """One event of the engine."""
        timings = event.get("timings") or {}
        if event.get("usage"):
            self._usage = _sum(self._usage, _usage(event["usage"], timings))
        for choice in event.get("choices") or []:
            self._choice(choice, timings)

    def usage(self):
        """Usage of the whole answer, or None when the engine ended without it."""
        return self._usage

    def _choice(self, choice, timings):
        index = choice.get("index", 0)
        delta = choice.get("delta") or {}
        text = choice.get("text") or delta.get("content") or ""
        reasoning = delta.get("reasoning_content") or ""
        finish = choice.get("finish_reason")
        entries = (choice.get("logprobs") or {}).get("content") or []
        # The engine's counter is exact; pieces are not, where a character spans several tokens.
        counted = timings.get("predicted_n")
        if counted is None or finish:
            tokens = len(entries) or int(bool(text or reasoning)) if counted is None else 0
        else:
            tokens = max(0, counted - self._counted.get(index, 0))
            self._counted[index] = counted
        if finish:
            self.finished.add(index)
        elif not (text or reasoning or tokens or delta.get("tool_calls")):
            return  # the role, or progress while the prompt is read
        self._stream.add(
            index,
            text=text,
            reasoning=reasoning,
            tools=[_tool_call(call) for call in delta.get("tool_calls") or []],
            tokens=tokens,
            logprobs=[_logprob(entry, self._top) for entry in entries],
            finish_reason=finish,
        )


def _logprob(entry, top):
    alternatives = [{"token": item["token"], "logprob": item["logprob"]} for item in entry["top_logprobs"][:top]]
    return {"token": entry["token"], "logprob": entry["logprob"], "top": alternatives}


def _tool_call(call):
    function = call.get("function") or {}
    return {
        "index": call.get("index", 0),
        "id": call.get("id") or "",
        "name": function.get("name") or "",
        "arguments": function.get("arguments") or "",
    }


def _sum(known, usage):
    """Usage of several choices: each reports its own output, all share the prompt."""
    if known is None:
        return usage
    shared = ("input_tokens", "cached_input_tokens")
    return {name: value if name in shared else value + known[name] for name, value in usage.items()}


def _usage(usage, timings):
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "cached_input_tokens": (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        "output_tokens": usage.get("completion_tokens", 0),
        "draft_tokens": timings.get("draft_n", 0),
        "accepted_draft_tokens": timings.get("draft_n_accepted", 0),
    }
