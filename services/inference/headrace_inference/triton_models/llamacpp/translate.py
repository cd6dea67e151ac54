"""A request in headrace's wire format as a call of llama.cpp's OpenAI-shaped HTTP API, and its errors."""

from collections import namedtuple

from . import grammar, limits, lora
from .tools import Offer

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
    "stop",
    "n",
)
_RANDOM_SEED = 0xFFFFFFFF
"""With this llama.cpp takes a new one each time."""

EngineRequest = namedtuple("EngineRequest", "path body rule offer")
"""The engine's call; the rule that the whole answer must keep to, or None; the tools on offer."""


def engine_request(document, settings, template):
    """The engine's call for a request.

    Args:
        document: the request.
        settings: the deployment's `settings.json`.
        template: returns the model's chat template.

    Raises:
        RequestFailed: this deployment cannot do what the request asks for.
    """
    limits.check(document, settings)
    body = {name: document[name] for name in _PASSED_ON if document.get(name) is not None}
    if document.get("seed") is not None:
        body["seed"] = min(document["seed"] & _RANDOM_SEED, _RANDOM_SEED - 1)
    body["stream"] = True
    body["stream_options"] = {"include_usage": True}
    body["timings_per_token"] = True
    # Progress while the prompt is read makes the engine notice a closed socket between two batches, not once a second.
    body["return_progress"] = True
    body["cache_prompt"] = settings.get("prefix_caching", True)
    body["max_tokens"] = document.get("max_tokens") or settings["max_output_tokens"]
    adapters = lora.of_request(document, settings)
    if adapters is not None:
        body["lora"] = adapters
    rule = grammar.of_format(document.get("response_format"))
    if rule:
        body["grammar"] = grammar.document({"start": rule})
    top = document.get("top_logprobs")
    wanted = None if top is None and not document.get("want_stats") else max(1, top or 0)
    begun = document.get("continue_from", "")
    if "messages" not in document:
        body["prompt"] = document.get("prompt", "") + begun
        if wanted:
            body["logprobs"] = wanted
        return EngineRequest("/v1/completions", body, rule, None)
    body["messages"] = document["messages"]
    if begun:
        # llama.cpp goes on with an assistant's turn that stands last.
        body["messages"] = [*document["messages"], {"role": "assistant", "content": begun}]
    if wanted:
        body["logprobs"] = True
        body["top_logprobs"] = wanted
    offer = None
    if document.get("tools"):
        offer = Offer(document, settings.get("tool_parser", "auto"), template(), plain=bool(wanted or rule))
        offer.put_into(body)
        rules = offer.rules(rule)
        if rules:
            body["grammar"] = grammar.document(rules)
    if body.get("grammar"):
        # The grammar begins with the answer: a model that thinks first could not.
        body["chat_template_kwargs"] = {**body.get("chat_template_kwargs", {}), "enable_thinking": False}
    return EngineRequest("/v1/chat/completions", body, None if offer and offer.style else rule, offer)


def error_of(error, body):
    """(code, message, param) of llama.cpp's error object for the engine's request `body`."""
    code, param = ERROR_CODES.get(error.get("type"), ("engine_failed", None))
    if code == "invalid_request":
        # What else a request can have wrong was refused before it came here.
        param = "tools" if "tools" in body else "response_format" if "grammar" in body else None
    return code, error.get("message") or "the engine failed", param
