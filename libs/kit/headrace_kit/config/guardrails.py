"""`guardrails:` named policies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headrace_kit.config.base import Section

Action = Literal["flag", "mask", "block"]


class PiiCheck(Section):
    """Personal data."""

    check: Literal["pii"] = "pii"
    kinds: tuple[Literal["email", "phone", "iban", "card", "ip"], ...] = Field(
        ("email", "phone", "iban", "card"), min_length=1, description="What to look for."
    )
    action: Action = Field("mask", description="What to do with it.")


class BanListCheck(Section):
    """Words and phrases."""

    check: Literal["ban_list"] = "ban_list"
    words: tuple[str, ...] = Field(min_length=1, description="Words or phrases, whole words, in any case.")
    action: Action = Field("block", description="What to do with them.")


Check = Annotated[PiiCheck | BanListCheck, Field(discriminator="check")]
"""One check of a policy; `check` says which."""


class Policy(Section):
    """Checks by direction, in the order in which they run."""

    input: tuple[Check, ...] = Field((), description="Over the caller's messages.")
    retrieved: tuple[Check, ...] = Field((), description="Over passages before they enter the prompt.")
    tool_call: tuple[Check, ...] = Field((), description="Over the arguments of a tool call.")
    tool_result: tuple[Check, ...] = Field((), description="Over what a tool returned.")
    output: tuple[Check, ...] = Field((), description="Over the answer, while it streams.")
