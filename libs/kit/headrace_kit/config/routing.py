"""How a model's requests are spread over its deployments: part of `models:`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from headrace_kit.config.base import Name, Section

if TYPE_CHECKING:
    from headrace_kit.config.deployments import BaseDeployment
    from headrace_kit.config.models import Model
    from headrace_kit.config.tenants import Tenant

Script = Literal[
    "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "bengali", "tamil", "thai", "georgian", "armenian",
    "han", "kana", "hangul",
]  # fmt: skip
"""Writing systems that can be told apart. Japanese is `kana`, also where it has Han characters in it."""

Format = Literal["text", "json_object", "json_schema", "regex"]
MetadataText = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class TokenRange(Section):
    """Bounds of a number of tokens, both inclusive."""

    at_least: int = Field(0, ge=0, le=10_000_000, description="Least number, in tokens.")
    at_most: int | None = Field(None, ge=0, le=10_000_000, description="Greatest number, in tokens. Default: no limit.")

    @model_validator(mode="after")
    def _order(self) -> TokenRange:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError("at_most is less than at_least")
        return self


class When(Section):
    """What holds of a request. All that is given must hold."""

    input_tokens: TokenRange | None = Field(
        None,
        description="Length of the whole prompt with its tools, estimated as a quarter of its UTF-8 bytes. "
        "Images and audio are not counted.",
    )
    tools: bool | None = Field(None, description="Whether the request offers tools.")
    image: bool | None = Field(None, description="Whether a message holds an image.")
    audio: bool | None = Field(None, description="Whether a message holds audio.")
    script: tuple[Script, ...] = Field(
        (), description="Writing systems, one of which most letters of the user's last words belong to."
    )
    response_format: tuple[Format, ...] = Field((), description="Formats of the answer, one of which is asked for.")
    metadata: dict[MetadataText, MetadataText] = Field(
        default_factory=dict, max_length=16, description="Entries that the request's `metadata` has, with this value."
    )

    @model_validator(mode="after")
    def _something(self) -> When:
        if not self.model_dump(exclude_defaults=True):
            raise ValueError("a condition needs something that must hold; leave `when` out where there is none")
        return self


class PoolEntry(Section):
    """A deployment among several that may answer."""

    deployment: Name = Field(description="Entry of `deployments`.")
    adapter: Name | None = Field(None, description="LoRA adapter of the deployment that answers. Default: none.")
    weight: int = Field(1, ge=1, le=10_000, description="Its share of the requests, relative to the others'.")
    when: When | None = Field(
        None,
        description="Requests that it is for. A request goes to deployments whose condition it meets; to those without "
        "a condition when there is none such, or none that can be asked now.",
    )


class Routing(Section):
    """How one of a pool's deployments is chosen."""

    choose: Literal["weighted", "least_finish_time"] = Field(
        "weighted",
        description="`weighted`: in turn, exactly by weight. `least_finish_time`: the one of two, drawn by weight, "
        "that is likely to finish first.",
    )
    affinity: Literal["none", "prefix", "conversation"] = Field(
        "none",
        description="What goes to the same deployment, whose prefix cache has it: `prefix`: requests with the same "
        "system prompt. `conversation`: the turns of a conversation.",
    )
    spill: float = Field(
        1.5,
        ge=1,
        le=100,
        description="With affinity: how many times its share of the requests at work a deployment may have before "
        "further ones go to the next. It gets more than its slots only up to this.",
    )


def unserved(tenant: Tenant, model: Model, deployments: Mapping[str, BaseDeployment]) -> str:
    """Why a tenant can never be served by a model: a stage without a deployment that it may use; empty: it can."""
    for stage in model.stages:
        names = [entry.deployment for entry in stage.pool]
        if not any(tenant.may_use(deployments[name]) for name in names):
            listed = ", ".join(f"{name} ({_place(deployments[name])})" for name in names)
            return f"it may use none of {listed}"
    return ""


def _place(deployment: BaseDeployment) -> str:
    tags = f", tags {' '.join(deployment.tags)}" if deployment.tags else ""
    return f"residency {deployment.residency or 'not stated'}{tags}"
