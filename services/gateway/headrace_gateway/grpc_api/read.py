"""From the proto's requests to the pipeline's calls, held to the same bounds as over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

from headrace_gateway.arms.split import BASELINE, CANDIDATE
from headrace_gateway.cache.wishes import WISHES
from headrace_gateway.calls import CHAT, COMPLETION, GenerateCall, Options
from headrace_gateway.parts import AUDIO_FORMATS
from headrace_kit.errors import BadInput
from headrace_protos.common.v1.chat_pb2 import Message, Sampling
from headrace_protos.gateway.v1 import messages_pb2 as pb

_ROLES = ("system", "developer", "user", "assistant", "tool")
_BOUNDS = {
    "max_tokens": (1, 2**31 - 1),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (1, 2**31 - 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "top_logprobs": (0, 20),
}
_MAX_REGEX_CHARS = 4096
ARMS = (BASELINE, CANDIDATE)
_DETAILS = ("", "auto", "low", "high")
_MAX_PAIRS, _MAX_PAIR_KEY_CHARS, _MAX_PAIR_VALUE_CHARS = 16, 64, 512
_MAX_N, _MAX_STOPS, _MAX_TOOLS, _MAX_COLLECTIONS, _MAX_CHARS = 16, 4, 128, 16, 256


def read_generate(request: pb.GenerateRequest, *, stream: bool) -> GenerateCall:
    """The call of a request. Raises BadInput naming the field."""
    if not request.model:
        raise BadInput("model is missing", code="missing_required_parameter", param="model")
    if bool(request.messages) == bool(request.prompt):
        raise BadInput("one of messages and prompt is required", param="messages")
    for number, message in enumerate(request.messages):
        _check_message(message, f"messages[{number}]")
    sampling = Sampling()
    sampling.CopyFrom(request.sampling)
    _check_sampling(sampling)
    sampling.n = sampling.n or 1
    return GenerateCall(
        model=request.model,
        operation=COMPLETION if request.prompt else CHAT,
        messages=list(request.messages),
        prompt=request.prompt,
        sampling=sampling,
        options=_options(request.headrace),
        end_user=request.end_user,
        metadata=_metadata(request.metadata),
        stream=stream,
    )


def _metadata(sent: Mapping[str, str]) -> dict[str, str]:
    if len(sent) > _MAX_PAIRS:
        raise BadInput(f"at most {_MAX_PAIRS} pairs of metadata", param="metadata")
    if any(len(key) > _MAX_PAIR_KEY_CHARS or len(value) > _MAX_PAIR_VALUE_CHARS for key, value in sent.items()):
        raise BadInput(
            f"a key of metadata has at most {_MAX_PAIR_KEY_CHARS} characters, a value {_MAX_PAIR_VALUE_CHARS}",
            param="metadata",
        )
    return dict(sent)


def _check_message(message: Message, where: str) -> None:
    if message.role not in _ROLES:
        raise BadInput(f"{where}.role is one of {', '.join(_ROLES)}", param=f"{where}.role")
    if not message.parts and message.role != "assistant":
        raise BadInput(f"{where}.parts is empty", code="missing_required_parameter", param=f"{where}.parts")
    for place, part in enumerate(message.parts):
        at, kind = f"{where}.parts[{place}]", part.WhichOneof("part")
        if kind is None:
            raise BadInput(f"{at} is empty", code="missing_required_parameter", param=at)
        if kind == "image" and not (part.image.url and part.image.detail in _DETAILS):
            raise BadInput(f"{at}.image has a url, and detail auto, low or high", param=f"{at}.image")
        if kind == "audio" and not (part.audio.data and part.audio.format in AUDIO_FORMATS):
            raise BadInput(f"{at}.audio has data, and format {' or '.join(AUDIO_FORMATS)}", param=f"{at}.audio")
    if message.role == "tool" and not message.tool_call_id:
        raise BadInput(f"{where}.tool_call_id is missing", param=f"{where}.tool_call_id")


def _check_sampling(sampling: Sampling) -> None:
    for name, (low, high) in _BOUNDS.items():
        # Written so that a NaN is out of bounds too.
        if sampling.HasField(name) and not low <= getattr(sampling, name) <= high:
            raise BadInput(f"sampling.{name} is from {low} to {high}", param=f"sampling.{name}")
    if sampling.HasField("top_p") and sampling.top_p == 0:
        raise BadInput("sampling.top_p is above 0", param="sampling.top_p")
    if sampling.n > _MAX_N:
        raise BadInput(f"sampling.n is at most {_MAX_N}", param="sampling.n")
    if len(sampling.stop) > _MAX_STOPS or not all(sampling.stop):
        raise BadInput(f"at most {_MAX_STOPS} stop strings, none empty", param="sampling.stop")
    form = sampling.response_format
    if form.type not in ("", "text", "json_object", "json_schema", "regex"):
        raise BadInput(
            "response_format.type is text, json_object, json_schema or regex", param="sampling.response_format"
        )
    if (form.type == "regex") != bool(form.regex) or len(form.regex) > _MAX_REGEX_CHARS:
        raise BadInput(
            f"response_format.regex goes with type regex, and has at most {_MAX_REGEX_CHARS} characters",
            param="sampling.response_format.regex",
        )
    names = [tool.name for tool in sampling.tools]
    if len(names) > _MAX_TOOLS or not all(names):
        raise BadInput(f"at most {_MAX_TOOLS} tools, each with a name", param="sampling.tools")
    if sampling.tool_choice not in ("", "auto", "none", "required", *names):
        raise BadInput("tool_choice names a function that is not in tools", param="sampling.tool_choice")


def _options(sent: pb.HeadraceOptions) -> Options:
    if sent.cache not in WISHES:
        raise BadInput("headrace.cache is bypass, refresh, use or empty", param="headrace.cache")
    if len(sent.collections) > _MAX_COLLECTIONS:
        raise BadInput(f"at most {_MAX_COLLECTIONS} collections", param="headrace.collections")
    if len(sent.conversation_id) > _MAX_CHARS:
        raise BadInput(
            f"headrace.conversation_id has at most {_MAX_CHARS} characters", param="headrace.conversation_id"
        )
    if sent.arm not in ("", *ARMS) or bool(sent.arm) != bool(sent.rollout):
        raise BadInput("headrace.arm is baseline or candidate, and goes with headrace.rollout", param="headrace.arm")
    return Options(
        collections=tuple(sent.collections),
        guardrails=sent.guardrails,
        conversation_id=sent.conversation_id,
        user=sent.user,
        groups=tuple(sent.groups),
        route=sent.route,
        cache=sent.cache,
        rollout=sent.rollout,
        arm=sent.arm,
    )
