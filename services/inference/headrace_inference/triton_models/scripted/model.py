"""A language model that says what the request tells it to: for load and fault tests.

The last user message may be a JSON object, the script:
    tokens          list of texts, or a number of generated words        default: the words of the fixed answer
    tokens_per_s    rate; 0 means as fast as possible                    default 0
    first_token_ms  wait before the first token                          default 0
    fail_after      tokens after which the answer fails with `error`     default: never
    error           a code of the wire format, or `crash` (the process dies), `hang` (silent until cancelled)
    logprob         log probability of each token, or a list of them     default -0.1
    finish_reason                                                        default `stop`
Any other message is answered by `You said: ` and the message. `max_tokens` is honoured; other sampling is not.
An answer that another engine began (`continue_from`) goes on where that left off in the script.
"""

import json
import os
import re
import time
from pathlib import Path

from ..shared.failures import RequestFailed
from ..shared.triton_stream import Calls

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+")


def split_words(text):
    """Words with their leading white space; joined they are the text again."""
    return _WORD.findall(text)


def last_user_text(document):
    """Text of the last user turn, or the prompt."""
    for message in reversed(document.get("messages") or []):
        if message.get("role") == "user":
            content = message.get("content") or ""
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content)
    return document.get("prompt") or ""


def script_of(text):
    """The script in a user message, or the one that echoes it."""
    try:
        script = json.loads(text)
    except ValueError:
        script = None
    if not isinstance(script, dict):
        return {"tokens": split_words("You said: " + text)}
    return script


def behind(tokens, begun):
    """The tokens of a script that follow what was said of it; all where something else was said."""
    if not "".join(tokens).startswith(begun):
        return tokens
    left = len(begun)
    for place, token in enumerate(tokens):
        if left < len(token):
            return [token[left:], *tokens[place + 1 :]]
        left -= len(token)
    return []


def count_words(document):
    """Words of the whole prompt: the scripted model's idea of prompt tokens."""
    words = len(split_words(document.get("prompt") or ""))
    for message in document.get("messages") or []:
        content = message.get("content") or ""
        parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        words += sum(len(split_words(part)) for part in parts)
    return words


class TritonPythonModel:
    """Triton's entry point."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self._settings = json.loads((folder / "settings.json").read_text("utf-8"))
        self._calls = Calls(self._serve, self._settings["max_in_flight"])

    def execute(self, requests):
        self._calls.start(requests)

    def finalize(self):
        self._calls.close()

    def _serve(self, call):
        prompt_tokens = count_words(call.document)
        if prompt_tokens > self._settings["context_tokens"]:
            message = "the prompt has %d tokens, the context holds %d" % (
                prompt_tokens,
                self._settings["context_tokens"],
            )
            raise RequestFailed("context_length_exceeded", message, "messages")
        script = script_of(last_user_text(call.document))
        tokens = script.get("tokens", split_words("This is the scripted answer."))
        if isinstance(tokens, int):
            tokens = [" word%d" % number for number in range(tokens)]
        tokens = behind(tokens, call.document.get("continue_from", ""))
        limit = call.document.get("max_tokens") or self._settings["max_output_tokens"]
        finish = "length" if len(tokens) > limit else script.get("finish_reason", "stop")
        sent = self._say(call, script, tokens[:limit])
        if call.cancelled.is_set():
            return
        call.stream.add(finish_reason=finish)
        call.stream.end({"input_tokens": prompt_tokens, "cached_input_tokens": 0, "output_tokens": sent})

    def _say(self, call, script, tokens):
        logprob = script.get("logprob", -0.1)
        fail_after = script.get("fail_after", -1)
        gap_s = 1 / script["tokens_per_s"] if script.get("tokens_per_s") else 0
        due = time.monotonic() + script.get("first_token_ms", 0) / 1000
        for number, token in enumerate(tokens):
            if number == fail_after:
                self._fail(call, script.get("error", "engine_failed"))
                return number
            wait = due - time.monotonic()
            if (wait > 0 and call.cancelled.wait(wait)) or call.cancelled.is_set():
                return number
            due += gap_s
            value = logprob[number % len(logprob)] if isinstance(logprob, list) else logprob
            call.stream.add(text=token, tokens=1, logprobs=[{"token": token, "logprob": value, "top": []}])
        if fail_after >= len(tokens):
            self._fail(call, script.get("error", "engine_failed"))
        return len(tokens)

    def _fail(self, call, error):
        if error == "crash":
            os._exit(1)
        if error == "hang":
            call.cancelled.wait()
            return
        raise RequestFailed(error, "the script asked for this failure")
