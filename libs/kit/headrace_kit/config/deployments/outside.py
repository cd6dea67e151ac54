"""Models of endpoints outside: nothing of ours runs there, and the gateway calls them itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from headrace_kit.config.base import Duration, SecretRef
from headrace_kit.config.deployments.base import BaseDeployment

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$", to_lower=True)]
HeaderText = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$", max_length=4096)]

_OURS = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class OpenAiDeployment(BaseDeployment):
    """A model of an endpoint outside that speaks OpenAI's API, called by the gateway over HTTP/1.1."""

    engine: Literal["openai"] = "openai"
    task: Literal["generate", "embed"] = Field("generate", description="`generate`: text. `embed`: texts to vectors.")
    address: str = Field(
        description="Base URL with the API's version, as OpenAI's SDKs take it, for example "
        "`https://api.openai.com/v1`. Certificates are checked against the system's, or those of SSL_CERT_FILE.",
        pattern=r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~%/-]*)?$",
    )
    model: str = Field(description="The model's name there.", min_length=1, max_length=256)
    credentials: SecretRef | None = Field(None, description="Key that is sent as a bearer token.")
    headers: dict[HeaderName, HeaderText | SecretRef] = Field(
        default_factory=dict,
        description="Further headers of each request; a value is a text or `{secret: name}`.",
    )
    context_tokens: int = Field(128_000, ge=256, le=10_000_000, description="Context of the model, in tokens.")
    max_output_tokens: int = Field(4096, ge=1, le=1_048_576, description="Limit where a request names none, in tokens.")
    limit_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens", description="How the endpoint calls that limit in a chat."
    )
    stream_usage: bool = Field(
        True,
        description="Ask for the count of tokens at the end of a stream. Where the endpoint gives none, what was sent "
        "and seen is counted, four characters a token.",
    )
    logprobs: bool = Field(
        True, description="The model reports log probabilities. Where it does not, requests for them are refused."
    )
    accepts: tuple[Literal["image", "audio"], ...] = Field((), description="What messages may hold besides text.")
    dimensions: int | None = Field(None, ge=1, le=16_384, description="Length of a vector. Required for `embed`.")
    texts_per_call: int = Field(256, ge=1, le=2048, description="Most texts that the endpoint embeds in one call.")
    connect_timeout: Duration = Field(5, gt=0, le=60, description="Longest time to connect, TLS included.")
    first_byte_timeout: Duration = Field(
        120, gt=0, le=3600, description="Longest wait for the first byte of a response, which for an answer that is "
        "not streamed is the whole of it.",
    )  # fmt: skip
    idle_timeout: Duration = Field(
        60, gt=0, le=3600, description="Longest wait for the next byte of a response that has begun."
    )
    keep_alive: Duration = Field(
        4, ge=0, le=600, description="How long an unused connection is kept. Keep it below the endpoint's own limit."
    )

    @model_validator(mode="after")
    def _fields(self) -> OpenAiDeployment:
        if (self.task == "embed") != (self.dimensions is not None):
            raise ValueError("dimensions is required for task embed, and only there")
        if taken := _OURS & set(self.headers):
            raise ValueError(f"headers: {sorted(taken)[0]!r} is set by the gateway itself")
        if self.credentials is not None and "authorization" in self.headers:
            raise ValueError("headers: credentials are sent as authorization already")
        return self
