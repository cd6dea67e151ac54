"""From OpenAI's requests to the pipeline's call."""

from __future__ import annotations

import base64

import msgspec

from headrace_gateway.calls import CHAT, COMPLETION, GenerateCall, Options
from headrace_gateway.http_api.chat_schema import (
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
    Sampled,
    TextPart,
    refused,
)
from headrace_gateway.http_api.read import decode
from headrace_kit.errors import BadInput
from headrace_protos.common.v1 import chat_pb2 as pb

_chat = msgspec.json.Decoder(ChatBody)
_completion = msgspec.json.Decoder(CompletionBody)
_encode = msgspec.json.Encoder(order="deterministic").encode
_MAX_STOPS = 4
_NOT_YET = "unsupported_parameter"


def read_chat(raw: bytes) -> tuple[GenerateCall, ChatBody]:
    """The call of a `POST /v1/chat/completions` body. Raises BadInput naming the field."""
    body = decode(_chat, raw)
    _refuse(body)
    call = _call(body, CHAT)
    call.messages = [_message(turn, number) for number, turn in enumerate(body.messages)]
    call.metadata = body.metadata or {}
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
    _refuse(body)
    call = _call(body, COMPLETION)
    prompt = body.prompt
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], str):
            raise BadInput(
                "prompt is one text here: no lists of several, no token numbers", code=_NOT_YET, param="prompt"
            )
        prompt = prompt[0]
    if not prompt:
        raise BadInput("prompt is empty", param="prompt")
    call.prompt = prompt
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
        if body.stream_options.include_obfuscation:
            name = "stream_options.include_obfuscation"
            raise BadInput(f"{name} is not supported", code=_NOT_YET, param=name)
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


def _refuse(body: ChatBody | CompletionBody) -> None:
    if name := refused(body):
        raise BadInput(f"{name} is not supported; leave it out", code=_NOT_YET, param=name)


def _message(turn: ChatMessage, number: int) -> pb.Message:
    where = f"messages[{number}]"
    if name := refused(turn):
        raise BadInput(f"{where}.{name} is not supported; leave it out", code=_NOT_YET, param=f"{where}.{name}")
    message = pb.Message(role=turn.role, name=turn.name or "")
    if isinstance(turn.content, str):
        message.parts.add(text=turn.content)
    elif turn.content is not None:
        for place, part in enumerate(turn.content):
            message.parts.append(_part(part, f"{where}.content[{place}]"))
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
    raise BadInput(f"{where}: parts of type {kind!r} are not supported", code=_NOT_YET, param=where)


def _regex(body: Sampled, sampling: pb.Sampling) -> None:
    """`headrace.regex`: OpenAI has no form of an answer by a regex."""
    if body.headrace is None or body.headrace.regex is None:
        return
    if sampling.HasField("response_format"):
        raise BadInput("headrace.regex and response_format are two forms of one answer", param="headrace.regex")
    sampling.response_format.CopyFrom(pb.ResponseFormat(type="regex", regex=body.headrace.regex))


def _tools(body: ChatBody, sampling: pb.Sampling) -> None:
    names = []
    for tool in body.tools or ():
        spec = tool.function
        names.append(spec.name)
        sampling.tools.add(
            name=spec.name,
            description=spec.description or "",
            parameters_json=_encode(spec.parameters).decode() if spec.parameters is not None else "",
            strict=bool(spec.strict),
        )
    choice = body.tool_choice
    if isinstance(choice, NamedTool):
        if choice.function.name not in names:
            raise BadInput(f"tool_choice names {choice.function.name!r}, which is not in tools", param="tool_choice")
        sampling.tool_choice = choice.function.name
    elif choice is not None:
        if choice == "required" and not names:
            raise BadInput("tool_choice 'required' needs tools", param="tool_choice")
        sampling.tool_choice = choice
    if body.parallel_tool_calls is not None:
        if not names:
            raise BadInput("parallel_tool_calls needs tools", param="parallel_tool_calls")
        sampling.parallel_tool_calls = body.parallel_tool_calls
