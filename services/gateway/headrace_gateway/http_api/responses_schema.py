"""OpenAI's `POST /v1/responses`, field by field: honoured, or named so that it can be refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from headrace_gateway.http_api.chat_schema import HeadraceOptions, Metadata, Name, ToolName

Status = Literal["in_progress", "completed", "incomplete"]


class InputText(Struct, forbid_unknown_fields=True, tag_field="type", tag="input_text"):
    """Text of a user or a system."""

    text: str


class OutputText(Struct, forbid_unknown_fields=True, tag_field="type", tag="output_text"):
    """Text of an assistant, as an earlier response gave it, or as the SDK parsed it. Only the text is read."""

    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None


class InputRefusal(Struct, forbid_unknown_fields=True, tag_field="type", tag="refusal"):
    """An assistant's refusal: its words."""

    refusal: str


class InputImage(Struct, forbid_unknown_fields=True, tag_field="type", tag="input_image"):
    """An image by address, or as a data URL."""

    image_url: Annotated[str, Meta(min_length=1)] | None = None
    detail: Literal["auto", "low", "high"] = "auto"
    file_id: Any | UnsetType = UNSET


class InputFile(Struct, tag_field="type", tag="input_file"):
    """A file."""


Content = InputText | OutputText | InputRefusal | InputImage | InputFile


class MessageItem(Struct, forbid_unknown_fields=True, kw_only=True):
    """One turn. `id`, `status` and `phase` of an earlier response's message are not read."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Content]
    type: Literal["message"] = "message"
    id: str | None = None
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCallItem(Struct, forbid_unknown_fields=True, kw_only=True):
    """A call that an earlier response made. What the SDK parsed of its arguments is not read."""

    type: Literal["function_call"]
    call_id: Name
    name: Name
    arguments: str
    id: str | None = None
    status: Status | None = None
    parsed_arguments: Any = None


class FunctionOutputItem(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a call gave."""

    type: Literal["function_call_output"]
    call_id: Name
    output: str | list[Content]
    id: str | None = None
    status: Status | None = None


class ReasoningItem(Struct, forbid_unknown_fields=True, kw_only=True):
    """The reasoning of an earlier response. It may stand here; models are not shown it again."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: str | None = None
    status: Status | None = None


ITEMS: dict[str, type[Struct]] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "function_call_output": FunctionOutputItem,
    "reasoning": ReasoningItem,
}
"""By `type`; an item without one is a message."""


class Typed(Struct):
    """The part of an item or tool that tells its kind."""

    type: str = "message"


class FunctionTool(Struct, forbid_unknown_fields=True, kw_only=True):
    """A function that a model may call."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionChoice(Struct, forbid_unknown_fields=True, tag_field="type", tag="function"):
    """The one function that must be called."""

    name: Name


class AllowedFunction(Struct, forbid_unknown_fields=True):
    """A function by name."""

    type: Literal["function"]
    name: Name


class AllowedFunctions(Struct, forbid_unknown_fields=True, tag_field="type", tag="allowed_tools"):
    """Which of the tools may be called now."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedFunction], Meta(min_length=1, max_length=128)]


class ResponseText(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Free text."""


class ResponseJson(Struct, forbid_unknown_fields=True, tag_field="type", tag="json_object"):
    """Some JSON object."""


class ResponseJsonSchema(Struct, forbid_unknown_fields=True, tag_field="type", tag="json_schema"):
    """JSON that fits a schema."""

    name: ToolName
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Struct, forbid_unknown_fields=True):
    """The form of the answer's text."""

    format: ResponseText | ResponseJson | ResponseJsonSchema | None = None
    verbosity: Any | UnsetType = UNSET


class ReasoningConfig(Struct, forbid_unknown_fields=True):
    """How models reason. Summaries are not made: reasoning comes as it is, in `content`."""

    effort: Any | UnsetType = UNSET
    summary: Any | UnsetType = UNSET
    generate_summary: Any | UnsetType = UNSET
    context: Any | UnsetType = UNSET
    mode: Any | UnsetType = UNSET


class ResponseStreamOptions(Struct, forbid_unknown_fields=True):
    """How a stream is sent. `include_obfuscation` true is refused: nothing is padded."""

    include_obfuscation: Any | UnsetType = UNSET


def _one_of(*kinds: type[Struct]) -> dict[str, Any]:
    """What the OpenAPI document says of a list whose entries are decoded by their own `type`."""
    return {"items": {"anyOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in kinds]}}


class ResponsesBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/responses`."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | Annotated[list[Raw], Meta(min_length=1, max_length=4096, extra_json_schema=_one_of(*ITEMS.values()))]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    tools: Annotated[list[Raw], Meta(max_length=128, extra_json_schema=_one_of(FunctionTool))] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | AllowedFunctions | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: Annotated[str, Meta(max_length=512)] | None = None
    prompt_cache_key: str | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    headrace: HeadraceOptions | None = None
    background: Any | UnsetType = UNSET
    context_management: Any | UnsetType = UNSET
    conversation: Any | UnsetType = UNSET
    max_tool_calls: Any | UnsetType = UNSET
    moderation: Any | UnsetType = UNSET
    previous_response_id: Any | UnsetType = UNSET
    prompt: Any | UnsetType = UNSET
    prompt_cache_options: Any | UnsetType = UNSET
    prompt_cache_retention: Any | UnsetType = UNSET
    service_tier: Any | UnsetType = UNSET
    store: Any | UnsetType = UNSET
    truncation: Any | UnsetType = UNSET


LOGPROBS = "message.output_text.logprobs"
"""The one thing that `include` can name here."""
