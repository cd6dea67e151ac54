"""The shapes of answers, for the OpenAPI document. A test holds real answers to them, field by field."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from headrace_gateway.outcome import Outcome


class PromptTokens(Struct, kw_only=True):
    """What the prompt's tokens were."""

    cached_tokens: int


class CompletionTokens(Struct, kw_only=True):
    """What the answer's tokens were."""

    reasoning_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class ChatUsage(Struct, kw_only=True):
    """Tokens of a chat or a completion."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens
    completion_tokens_details: CompletionTokens


class TopLogprobAnswer(Struct, kw_only=True):
    """An alternative at a token's place."""

    token: str
    logprob: float
    bytes: list[int]


class LogprobAnswer(Struct, kw_only=True):
    """A token of an answer."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprobAnswer]


class ChatLogprobs(Struct, kw_only=True):
    """The tokens of a choice."""

    content: list[LogprobAnswer] | None
    refusal: None = None


class CalledFunction(Struct, kw_only=True):
    """A function and its arguments, as JSON text."""

    name: str
    arguments: str


class ChatToolCall(Struct, kw_only=True):
    """A call of a function, which the caller runs."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(Struct, kw_only=True, omit_defaults=True):
    """The assistant's turn."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning: str | None = None
    tool_calls: list[ChatToolCall] | None = None


class ChatChoice(Struct, kw_only=True):
    """One of the answers wanted."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: str


class ChatAnswer(Struct, kw_only=True):
    """`chat.completion`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    headrace: Outcome


class TextLogprobs(Struct, kw_only=True):
    """The tokens of a choice, side by side."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Struct, kw_only=True):
    """One of the answers wanted."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: str


class CompletionAnswer(Struct, kw_only=True):
    """`text_completion`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: ChatUsage
    headrace: Outcome


class InputDetails(Struct, kw_only=True):
    """What the input's tokens were."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Struct, kw_only=True):
    """What the output's tokens were."""

    reasoning_tokens: int


class ResponseUsage(Struct, kw_only=True):
    """Tokens of a response."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseError(Struct, kw_only=True):
    """Why a response failed."""

    code: str
    message: str


class IncompleteDetails(Struct, kw_only=True):
    """Why a response is not whole."""

    reason: Literal["max_output_tokens", "content_filter"]


class AnswerText(Struct, kw_only=True, tag_field="type", tag="output_text"):
    """The assistant's words."""

    text: str
    annotations: list[Any]
    logprobs: list[LogprobAnswer]


class AnswerMessageItem(Struct, kw_only=True, tag_field="type", tag="message"):
    """The assistant's turn."""

    id: str
    status: str
    role: Literal["assistant"]
    content: list[AnswerText]


class AnswerCallItem(Struct, kw_only=True, tag_field="type", tag="function_call"):
    """A call of a function, which the caller runs."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: str


class ReasoningText(Struct, kw_only=True):
    """A model's reasoning."""

    type: Literal["reasoning_text"]
    text: str


class AnswerReasoningItem(Struct, kw_only=True, tag_field="type", tag="reasoning"):
    """A model's reasoning, as it is."""

    id: str
    summary: list[Any]
    content: list[ReasoningText]
    status: str


class ResponseAnswer(Struct, kw_only=True):
    """`response`. Nothing is stored: `store` is false."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: bool
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, str]
    model: str
    output: list[AnswerMessageItem | AnswerCallItem | AnswerReasoningItem]
    parallel_tool_calls: bool
    previous_response_id: None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: str
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: str
    usage: ResponseUsage | None
    user: str | None
    headrace: Outcome


class InputUsage(Struct, kw_only=True):
    """Tokens of a request that has no output."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingEntry(Struct, kw_only=True):
    """A vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingAnswer(Struct, kw_only=True):
    """Vectors in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddingEntry]
    model: str
    usage: InputUsage
    headrace: Outcome


class RankedDocument(Struct, kw_only=True):
    """A document's text."""

    text: str


class RankedEntry(Struct, kw_only=True, omit_defaults=True):
    """A document by its place in the request; higher scores are better, on no fixed scale."""

    index: int
    relevance_score: float
    document: RankedDocument | None = None


class RerankMeta(Struct, kw_only=True):
    """What Cohere's clients look for."""

    api_version: dict[str, str]
    billed_units: dict[str, int]


class RerankAnswer(Struct, kw_only=True):
    """Documents, best first."""

    id: str
    object: Literal["list"]
    model: str
    results: list[RankedEntry]
    usage: InputUsage
    meta: RerankMeta
    headrace: Outcome


class ModelAnswer(Struct, kw_only=True):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    task: str


class ModelsAnswer(Struct, kw_only=True):
    """The models that the caller's tenant may use."""

    object: Literal["list"]
    data: list[ModelAnswer]
