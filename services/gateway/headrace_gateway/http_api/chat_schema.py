"""OpenAI's chat and completion requests, field by field: honoured, or named so that it can be refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Name = Annotated[str, Meta(min_length=1, max_length=256)]
ToolName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


class TextPart(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Text."""

    text: str


class ImageAddress(Struct, forbid_unknown_fields=True):
    """An image by address, or as a data URL."""

    url: Annotated[str, Meta(min_length=1)]
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Struct, forbid_unknown_fields=True, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageAddress


class Audio(Struct, forbid_unknown_fields=True):
    """Audio as base64."""

    data: Annotated[str, Meta(min_length=1)]
    format: Literal["wav", "mp3"]


class AudioPart(Struct, forbid_unknown_fields=True, tag_field="type", tag="input_audio"):
    """Audio."""

    input_audio: Audio


class FilePart(Struct, tag_field="type", tag="file"):
    """A file."""

    file: Any


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    """An assistant's refusal."""

    refusal: str


Part = TextPart | ImagePart | AudioPart | FilePart | RefusalPart


class FunctionCall(Struct, forbid_unknown_fields=True):
    """A call that an assistant turn made. What the SDK parsed of its arguments is not read."""

    name: Name
    arguments: str
    parsed_arguments: Any = None


class ToolCall(Struct, forbid_unknown_fields=True):
    """A tool call of an assistant turn."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    index: int | None = None


class ChatMessage(Struct, forbid_unknown_fields=True):
    """One turn. Reasoning of earlier turns, and what the SDK parsed of their content, is not read."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: Annotated[str, Meta(max_length=256)] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    parsed: Any = None
    audio: Any | UnsetType = UNSET
    function_call: Any | UnsetType = UNSET
    annotations: Any | UnsetType = UNSET


class FunctionSpec(Struct, forbid_unknown_fields=True):
    """A function that a model may call."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolSpec(Struct, forbid_unknown_fields=True):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: FunctionSpec


class NamedFunction(Struct, forbid_unknown_fields=True):
    """A function by name."""

    name: Name


class NamedTool(Struct, forbid_unknown_fields=True, tag_field="type", tag="function"):
    """The one tool that must be called."""

    function: NamedFunction


class AllowedTool(Struct, forbid_unknown_fields=True):
    """A tool by name."""

    type: Literal["function"]
    function: NamedFunction


class AllowedSet(Struct, forbid_unknown_fields=True):
    """Some of the tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1, max_length=128)]


class AllowedTools(Struct, forbid_unknown_fields=True, tag_field="type", tag="allowed_tools"):
    """Which of the tools may be called now."""

    allowed_tools: AllowedSet


class TextFormat(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Free text."""


class JsonFormat(Struct, forbid_unknown_fields=True, tag_field="type", tag="json_object"):
    """Some JSON object."""


class JsonSchema(Struct, forbid_unknown_fields=True):
    """A JSON Schema."""

    name: ToolName
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(Struct, forbid_unknown_fields=True, tag_field="type", tag="json_schema"):
    """JSON that fits a schema."""

    json_schema: JsonSchema


class StreamOptions(Struct, forbid_unknown_fields=True):
    """How a stream is sent. `include_obfuscation` true is refused: nothing is padded."""

    include_usage: bool | None = None
    include_obfuscation: Any | UnsetType = UNSET


class HeadraceOptions(Struct, forbid_unknown_fields=True):
    """The `headrace` object of a request."""

    collections: Annotated[list[Name], Meta(max_length=16)] = []
    guardrails: str | None = None
    conversation_id: Annotated[str, Meta(max_length=256)] | None = None
    user: Annotated[str, Meta(max_length=256)] | None = None
    groups: Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=256)] = []
    cache: Literal["bypass", "refresh", "use"] | None = None
    route: str | None = None
    regex: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None


class Sampled(Struct, forbid_unknown_fields=True, kw_only=True):
    """What chat and completion requests have in common."""

    model: Annotated[str, Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Annotated[str, Meta(min_length=1)] | list[Annotated[str, Meta(min_length=1)]] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    user: str | None = None
    headrace: HeadraceOptions | None = None
    logit_bias: Any | UnsetType = UNSET


class ChatBody(Sampled, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)]
    max_completion_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: TextFormat | JsonFormat | JsonSchemaFormat | None = None
    tools: Annotated[list[ToolSpec], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedTools | None = None
    parallel_tool_calls: bool | None = None
    metadata: Metadata | None = None
    prompt_cache_key: str | None = None
    safety_identifier: Annotated[str, Meta(max_length=512)] | None = None
    audio: Any | UnsetType = UNSET
    function_call: Any | UnsetType = UNSET
    functions: Any | UnsetType = UNSET
    modalities: Any | UnsetType = UNSET
    moderation: Any | UnsetType = UNSET
    prediction: Any | UnsetType = UNSET
    prompt_cache_options: Any | UnsetType = UNSET
    prompt_cache_retention: Any | UnsetType = UNSET
    reasoning_effort: Any | UnsetType = UNSET
    service_tier: Any | UnsetType = UNSET
    store: Any | UnsetType = UNSET
    verbosity: Any | UnsetType = UNSET
    web_search_options: Any | UnsetType = UNSET


class CompletionBody(Sampled, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | Annotated[list[Any], Meta(extra_json_schema={"items": {"type": "string"}, "maxItems": 1})]
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: Any | UnsetType = UNSET
    suffix: Any | UnsetType = UNSET
