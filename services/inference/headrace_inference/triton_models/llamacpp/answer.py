"""The engine's events as the chunks of an answer."""

import json

from ..shared.failures import RequestFailed
from .grammar import Guard

_AT_ONCE = 1 << 16
"""Bytes."""


def events(response):
    """The JSON documents of a server-sent event stream, until `[DONE]` or the end.

    Args:
        response: the engine's. It is read in the pieces in which the engine wrote it, an event or more each, which
            costs less than by lines.
    """
    rest = b""
    while piece := response.read1(_AT_ONCE):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                if line == b"data: [DONE]":
                    return
                yield json.loads(line[6:])
            elif line.startswith(b"error: "):
                yield {"error": json.loads(line[7:])}


class _Choice:
    """What is known of one choice."""

    __slots__ = ("counted", "guard", "parser", "told", "tools")

    def __init__(self, request):
        self.counted = 0
        self.told = False
        self.guard = Guard(request.rule) if request.rule else None
        self.parser = request.offer.parser() if request.offer else None
        self.tools = set()


class Answer:
    """Feeds the engine's events to an `AnswerStream` and gathers usage.

    Args:
        stream: where the pieces go.
        request: the `EngineRequest`.
        top: alternatives a token to report.
    """

    def __init__(self, stream, request, top):
        self._stream = stream
        self._request = request
        self._top = top
        self._choices = {}
        self._usage = None
        self._reasoning_tokens = 0
        self.finished = set()

    def take(self, event):
        """One event of the engine.

        Raises:
            RequestFailed: the answer does not keep to the request's response format.
        """
        timings = event.get("timings") or {}
        if event.get("usage"):
            self._usage = _sum(self._usage, _usage(event["usage"], timings))
        for choice in event.get("choices") or []:
            self._choice(choice, timings)

    def usage(self):
        """Usage of the whole answer, or None when the engine ended without it."""
        return self._usage and {**self._usage, "reasoning_tokens": self._reasoning_tokens}

    def _choice(self, choice, timings):
        index = choice.get("index", 0)
        delta = choice.get("delta") or {}
        text = choice.get("text") or delta.get("content") or ""
        reasoning = delta.get("reasoning_content") or ""
        finish = choice.get("finish_reason")
        entries = (choice.get("logprobs") or {}).get("content") or []
        tools = [_tool_call(call) for call in delta.get("tool_calls") or []]
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(self._request)
        # The engine's counter is exact; pieces are not, where a character spans several tokens.
        counted = timings.get("predicted_n")
        if counted is None or finish:
            tokens = len(entries) or int(bool(text or reasoning)) if counted is None else 0
        else:
            tokens = max(0, counted - state.counted)
            state.counted = counted
        if reasoning and not text:
            self._reasoning_tokens += tokens
        if finish:
            self.finished.add(index)
        elif not (text or reasoning or tokens or tools):
            return  # the role, or progress while the prompt is read
        text, finish = self._examined(state, text, tools, finish)
        prompt = None if state.told else _prompt(timings)
        state.told = True
        self._stream.add(
            index,
            text=text,
            reasoning=reasoning,
            tools=tools,
            tokens=tokens,
            logprobs=[_logprob(entry, self._top) for entry in entries],
            finish_reason=finish,
            prompt=prompt,
        )

    def _examined(self, state, text, tools, finish):
        """The piece's text without the calls in it, which are added to `tools`, and its finish reason."""
        if state.guard:
            state.guard.take(text)
            if finish == "stop" and not self._request.body.get("stop") and not state.guard.complete():
                raise RequestFailed("engine_failed", "the engine ended the answer before the response format did")
        if state.parser:
            text, found = state.parser.feed(text)
            tools += found
            if finish:
                rest, found = state.parser.end()
                text += rest
                tools += found
        state.tools.update(call["index"] for call in tools)
        return text, "tool_calls" if finish == "stop" and state.tools else finish


def _prompt(timings):
    """Tokens of the prompt, as the engine tells them with each token."""
    if "prompt_n" not in timings:
        return None
    cached = timings.get("cache_n", 0)
    return {"input_tokens": timings["prompt_n"] + cached, "cached_input_tokens": cached}


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
