"""From OpenAI's responses request to the pipeline's call."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from headrace_gateway.calls import RESPONSE, GenerateCall
from headrace_gateway.http_api.chat_read import options
from headrace_gateway.http_api.read import decode, decode_part
from headrace_gateway.http_api.refused import UNSUPPORTED, refuse
from headrace_gateway.http_api.responses_schema import (
    ITEMS,
    LOGPROBS,
    AllowedFunctions,
    Content,
    FunctionCallItem,
    FunctionChoice,
    FunctionOutputItem,
    FunctionTool,
    InputFile,
    InputImage,
    InputRefusal,
    MessageItem,
    ResponseJson,
    ResponseJsonSchema,
    ResponsesBody,
    Typed,
)
from headrace_gateway.http_api.tools import NAMED, choose
from headrace_kit.errors import BadInput
from headrace_protos.common.v1 import chat_pb2 as pb

_body = msgspec.json.Decoder(ResponsesBody)
_typed = msgspec.json.Decoder(Typed)
_items = {kind: msgspec.json.Decoder(struct) for kind, struct in ITEMS.items()}
_tool = msgspec.json.Decoder(FunctionTool)
_encode = msgspec.json.Encoder(order="deterministic").encode


def read_response(raw: bytes) -> tuple[GenerateCall, ResponsesBody, list[FunctionTool]]:
    """The call of a `POST /v1/responses` body, and its tools. Raises BadInput naming the field."""
    body = decode(_body, raw)
    refuse(body)
    if body.text is not None:
        refuse(body.text, "text")
    if body.reasoning is not None:
        refuse(body.reasoning, "reasoning")
    if body.stream_options is not None:
        if not body.stream:
            raise BadInput("stream_options needs stream: true", param="stream_options")
        refuse(body.stream_options, "stream_options")
    conversation = _Conversation()
    if body.instructions:
        conversation.add(pb.Message(role="system", parts=[pb.ContentPart(text=body.instructions)]), "instructions")
    if isinstance(body.input, str):
        if not body.input:
            raise BadInput("input is empty", param="input")
        conversation.add(pb.Message(role="user", parts=[pb.ContentPart(text=body.input)]), "input")
    else:
        for number, item in enumerate(body.input):
            conversation.take(item, f"input[{number}]")
        if not conversation.messages:
            raise BadInput("input holds no message", param="input")
    tools = [_function(tool, f"tools[{number}]") for number, tool in enumerate(body.tools or ())]
    call = GenerateCall(
        model=body.model,
        operation=RESPONSE,
        messages=conversation.messages,
        sampling=_sampling(body, tools),
        options=options(body.headrace),
        end_user=body.user or body.safety_identifier or "",
        metadata=body.metadata or {},
        stream=bool(body.stream),
        places=conversation.places,
    )
    return call, body, tools


def _sampling(body: ResponsesBody, tools: Sequence[FunctionTool]) -> pb.Sampling:
    sampling = pb.Sampling(max_tokens=body.max_output_tokens, temperature=body.temperature, top_p=body.top_p, n=1)
    for number, wanted in enumerate(body.include or ()):
        if wanted != LOGPROBS:
            at = f"include[{number}]"
            raise BadInput(f"{at}: {wanted[:64]!r} cannot be had; {LOGPROBS!r} can", code=UNSUPPORTED, param=at)
        sampling.top_logprobs = body.top_logprobs or 0
    if body.top_logprobs:
        sampling.top_logprobs = body.top_logprobs
    form = body.text.format if body.text is not None else None
    if isinstance(form, ResponseJson):
        sampling.response_format.type = "json_object"
    elif isinstance(form, ResponseJsonSchema):
        sampling.response_format.CopyFrom(
            pb.ResponseFormat(type="json_schema", name=form.name, schema_json=_encode(form.schema).decode())
        )
    if body.headrace is not None and body.headrace.regex is not None:
        if sampling.HasField("response_format"):
            raise BadInput("headrace.regex and text.format are two forms of one answer", param="headrace.regex")
        sampling.response_format.CopyFrom(pb.ResponseFormat(type="regex", regex=body.headrace.regex))
    sent = body.tool_choice
    choice: str = sent if isinstance(sent, str) else ""
    allowed = None
    if isinstance(sent, FunctionChoice):
        choice, allowed = NAMED, [sent.name]
    elif isinstance(sent, AllowedFunctions):
        choice, allowed = sent.mode, [tool.name for tool in sent.tools]
    # OpenAI's SDK sends parallel_tool_calls also without tools.
    parallel = body.parallel_tool_calls if tools else None
    choose(sampling, [_tool_message(tool) for tool in tools], choice, allowed, parallel)
    return sampling


def _function(raw: Raw, where: str) -> FunctionTool:
    kind = decode_part(_typed, raw, where).type
    if kind != "function":
        raise BadInput(
            f"{where}: tools of type {kind[:64]!r} are not run here; only functions, which the caller runs",
            code=UNSUPPORTED,
            param=f"{where}.type",
        )
    return decode_part(_tool, raw, where)


def _tool_message(tool: FunctionTool) -> pb.Tool:
    return pb.Tool(
        name=tool.name,
        description=tool.description or "",
        parameters_json=_encode(tool.parameters).decode() if tool.parameters is not None else "",
        strict=bool(tool.strict),
    )


class _Conversation:
    """Items as turns. Calls that follow an assistant's words, or each other, belong to one turn."""

    def __init__(self) -> None:
        self.messages: list[pb.Message] = []
        self.places: list[str] = []
        self._calls: set[str] = set()

    def add(self, message: pb.Message, place: str) -> None:
        """Put a turn at the end."""
        self.messages.append(message)
        self.places.append(place)

    def take(self, raw: Raw, where: str) -> None:
        """Put an item at the end. Raises BadInput."""
        kind = decode_part(_typed, raw, where).type
        decoder = _items.get(kind)
        if decoder is None:
            raise BadInput(
                f"{where}: items of type {kind[:64]!r} are not supported; known: {', '.join(ITEMS)}",
                code=UNSUPPORTED,
                param=f"{where}.type",
            )
        item = decode_part(decoder, raw, where)
        if isinstance(item, MessageItem):
            self.add(pb.Message(role=item.role, parts=_parts(item.content, where, "content")), where)
        elif isinstance(item, FunctionCallItem):
            if not self.messages or self.messages[-1].role != "assistant":
                self.add(pb.Message(role="assistant"), where)
            calls = self.messages[-1].tool_calls
            calls.add(index=len(calls), id=item.call_id, name=item.name, arguments=item.arguments)
            self._calls.add(item.call_id)
        elif isinstance(item, FunctionOutputItem):
            if item.call_id not in self._calls:
                at = f"{where}.call_id"
                raise BadInput(f"{at}: no function_call before it has the call_id {item.call_id[:64]!r}", param=at)
            parts = _parts(item.output, where, "output")
            self.add(pb.Message(role="tool", tool_call_id=item.call_id, parts=parts), where)


def _parts(content: str | list[Content], where: str, field: str) -> list[pb.ContentPart]:
    if isinstance(content, str):
        return [pb.ContentPart(text=content)]
    return [_part(part, f"{where}.{field}[{place}]") for place, part in enumerate(content)]


def _part(part: Content, where: str) -> pb.ContentPart:
    if isinstance(part, InputRefusal):
        return pb.ContentPart(text=part.refusal)
    if isinstance(part, InputFile):
        raise BadInput(f"{where}: parts of type 'input_file' are not supported", code=UNSUPPORTED, param=where)
    if isinstance(part, InputImage):
        refuse(part, where)
        if part.image_url is None:
            at = f"{where}.image_url"
            raise BadInput(f"{at} is missing", code="missing_required_parameter", param=at)
        return pb.ContentPart(image=pb.ImagePart(url=part.image_url, detail=part.detail))
    return pb.ContentPart(text=part.text)
