"""From OpenAI's requests to the pipeline's call."""

from __future__ import annotations

import base64

import msgspec
from msgspec import UNSET

from headrace_gateway.calls import CHAT, COMPLETION, GenerateCall, Options
from headrace_gateway.http_api.chat_schema import (
    AllowedTools,
    AudioPart,
    ChatBody,
    ChatMessage,
    CompletionBody,
    HeadraceOptions,
    ImagePart,
    JsonFormat,
    JsonSchemaFormat,
    NamedTool,
    Part,
    RefusalPart,
    Sampled,
    TextPart,
)
from headrace_gateway.http_api.read import decode
from headrace_gateway.http_api.refused import UNSUPPORTED, refuse
from headrace_gateway.http_api.tools import NAMED, choose
from headrace_kit.errors import BadInput
from headrace_protos.common.v1 import chat_pb2 as pb

_chat = msgspec.json.Decoder(ChatBody)
_completion = msgspec.json.Decoder(CompletionBody)
_encode = msgspec.json.Encoder(order="deterministic").encode
_MAX_STOPS = 4


def read_chat(raw: bytes) -> tuple[GenerateCall, ChatBody]:
    """The call of a `POST /v1/chat/completions` body. Raises BadInput naming the field."""
    body = decode(_chat, raw)
    refuse(body)
    call = _call(body, CHAT)
    call.messages = [_message(turn, number) for number, turn in enumerate(body.messages)]
    call.metadata = body.metadata or {}
    call.end_user = call.end_user or body.safety_identifier or ""
    sampling = call.sampling
    if body.max_completion_tokens is not None:
        if body.max_tokens not in (None, body.max_completion_tokens):
            raise BadInput("max_tokens and max_completion_tokens differ; send one", param="max_tokens")
        sampling.max_tokens = body.max_completion_tokens
    if body.logprobs:
        sampling.top_logprobs = body.top_logprobs or 0
    elif body.top_logprobs is not None:
        raise BadInput("top_logprobs needs logprobs: true", param="top_logprobs")
    if isinstance(body.response_format, JsonFormat):
        sampling.response_format.type = "json_object"
    elif isinstance(body.response_format, JsonSchemaFormat):
        wanted = body.response_format.json_schema
        sampling.response_format.CopyFrom(
            pb.ResponseFormat(type="json_schema", name=wanted.name, schema_json=_encode(wanted.schema).decode())
        )
    _regex(body, sampling)
    _tools(body, sampling)
    return call, body


def read_completion(raw: bytes) -> tuple[GenerateCall, CompletionBody]:
    """The call of a `POST /v1/completions` body. Raises BadInput naming the field."""
    body = decode(_completion, raw)
    if body.best_of == (body.n or 1):
        body.best_of = UNSET  # all that are made are wanted
    refuse(body)
    call = _call(body, COMPLETION)
    prompt = body.prompt
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], str):
            raise BadInput(
                "prompt is one text here: no lists of several, no token numbers", code=UNSUPPORTED, param="prompt"
            )
        prompt = prompt[0]
    if not prompt:
        raise BadInput("prompt is empty", param="prompt")
    call.prompt = body.prompt = prompt
    if body.logprobs is not None:
        if body.echo:
            raise BadInput(
                "logprobs of the prompt, which echo asks for, are not supported", code=UNSUPPORTED, param="echo"
            )
        call.sampling.top_logprobs = body.logprobs
    _regex(body, call.sampling)
    return call, body


def options(sent: HeadraceOptions | None) -> Options:
    """The `headrace` object of a request."""
    if sent is None:
        return Options()
    return Options(
        collections=tuple(sent.collections),
        guardrails=sent.guardrails or "",
        conversation_id=sent.conversation_id or "",
        user=sent.user or "",
        groups=tuple(sent.groups),
        route=sent.route or "",
        cache=sent.cache or "",
    )


def _call(body: Sampled, operation: str) -> GenerateCall:
    if body.stream_options is not None:
        if not body.stream:
            raise BadInput("stream_options needs stream: true", param="stream_options")
        refuse(body.stream_options, "stream_options")
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(stops) > _MAX_STOPS:
        raise BadInput(f"at most {_MAX_STOPS} stop strings", param="stop")
    sampling = pb.Sampling(
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        seed=body.seed,
        stop=stops,
        n=body.n or 1,
    )
    return GenerateCall(
        model=body.model,
        operation=operation,
        sampling=sampling,
        options=options(body.headrace),
        end_user=body.user or "",
        stream=bool(body.stream),
    )


def _message(turn: ChatMessage, number: int) -> pb.Message:
    where = f"messages[{number}]"
    refuse(turn, where)
    message = pb.Message(role=turn.role, name=turn.name or "")
    if isinstance(turn.content, str):
        message.parts.add(text=turn.content)
    elif turn.content is not None:
        for place, part in enumerate(turn.content):
            message.parts.append(_part(part, f"{where}.content[{place}]"))
    elif turn.refusal:
        message.parts.add(text=turn.refusal)
    elif turn.role != "assistant":
        raise BadInput(f"{where}.content is missing", code="missing_required_parameter", param=f"{where}.content")
    if turn.tool_calls:
        if turn.role != "assistant":
            raise BadInput(f"{where}.tool_calls is for assistant turns", param=f"{where}.tool_calls")
        for place, made in enumerate(turn.tool_calls):
            message.tool_calls.add(index=place, id=made.id, name=made.function.name, arguments=made.function.arguments)
    if turn.role == "tool":
        if not turn.tool_call_id:
            raise BadInput(f"{where}.tool_call_id is missing", param=f"{where}.tool_call_id")
        message.tool_call_id = turn.tool_call_id
    return message


def _part(part: Part, where: str) -> pb.ContentPart:
    if isinstance(part, TextPart):
        return pb.ContentPart(text=part.text)
    if isinstance(part, RefusalPart):
        return pb.ContentPart(text=part.refusal)
    if isinstance(part, ImagePart):
        return pb.ContentPart(image=pb.ImagePart(url=part.image_url.url, detail=part.image_url.detail))
    if isinstance(part, AudioPart):
        try:
            data = base64.b64decode(part.input_audio.data, validate=True)
        except ValueError:
            at = f"{where}.input_audio.data"
            raise BadInput(f"{at} is not base64", param=at) from None
        return pb.ContentPart(audio=pb.AudioPart(data=data, format=part.input_audio.format))
    kind = part.__struct_config__.tag
    raise BadInput(f"{where}: parts of type {kind!r} are not supported", code=UNSUPPORTED, param=where)


def _regex(body: Sampled, sampling: pb.Sampling) -> None:
    """`headrace.regex`: OpenAI has no form of an answer by a regex."""
    if body.headrace is None or body.headrace.regex is None:
        return
    if sampling.HasField("response_format"):
        raise BadInput("headrace.regex and response_format are two forms of one answer", param="headrace.regex")
    sampling.response_format.CopyFrom(pb.ResponseFormat(type="regex", regex=body.headrace.regex))


def _tools(body: ChatBody, sampling: pb.Sampling) -> None:
    if not body.tools and body.tool_choice is None and body.parallel_tool_calls is None:
        return
    tools = [
        pb.Tool(
            name=spec.name,
            description=spec.description or "",
            parameters_json=_encode(spec.parameters).decode() if spec.parameters is not None else "",
            strict=bool(spec.strict),
        )
        for spec in (tool.function for tool in body.tools or ())
    ]
    sent = body.tool_choice
    choice: str = sent if isinstance(sent, str) else ""
    allowed = None
    if isinstance(sent, NamedTool):
        choice, allowed = NAMED, [sent.function.name]
    elif isinstance(sent, AllowedTools):
        choice, allowed = sent.allowed_tools.mode, [tool.function.name for tool in sent.allowed_tools.tools]
    choose(sampling, tools, choice, allowed, body.parallel_tool_calls)
