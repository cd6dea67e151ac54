"""`guardrails:` named policies."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from headrace_kit.config.base import Name, Section
from headrace_kit.config.nearest import nearest

Action = Literal["flag", "mask", "block"]

PiiKind = Literal[
    "email",
    "phone",
    "iban",
    "card",
    "ip",
    "us_ssn",
    "uk_nino",
    "es_nif",
    "fr_nir",
    "it_codice_fiscale",
    "de_tax_id",
    "pl_pesel",
    "br_cpf",
    "in_aadhaar",
    "sg_nric",
]
SecretKind = Literal[
    "headrace_key",
    "aws_access_key",
    "github_token",
    "gitlab_token",
    "slack_token",
    "slack_webhook",
    "openai_key",
    "google_api_key",
    "stripe_key",
    "huggingface_token",
    "npm_token",
    "pypi_token",
    "sendgrid_key",
    "jwt",
    "private_key",
    "url_password",
    "credential",
]
TrickKind = Literal["zero_width", "bidi", "tag", "variation", "control"]

_THRESHOLD = "Least confidence, 0 to 1, at which a finding counts."


def _has_letter_or_digit(word: str) -> str:
    if not any(char.isalnum() for char in word):
        raise ValueError("a word needs a letter or a digit")
    return word


def _re2(source: str) -> str:
    # Here, because the library is only wanted where a policy has patterns.
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(source, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "cannot be compiled"
        text = reason.decode() if isinstance(reason, bytes) else reason
        raise ValueError(f"not a pattern in RE2's syntax: {text}") from error
    if compiled.search("") is not None:
        raise ValueError("the pattern matches the empty text, so it would match everywhere")
    return source


Word = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_has_letter_or_digit)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_re2)]


class PiiCheck(Section):
    """Personal data: by its shape, and by its check digits where it has them."""

    check: Literal["pii"] = "pii"
    kinds: tuple[PiiKind, ...] = Field(
        ("email", "phone", "iban", "card"), min_length=1, description="What to look for."
    )
    action: Action = Field("mask", description="What to do with it.")
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)


class SecretsCheck(Section):
    """Keys, tokens, private keys, and what stands behind words such as `password`."""

    check: Literal["secrets"] = "secrets"
    kinds: tuple[SecretKind, ...] = Field(
        get_args(SecretKind), min_length=1, description="What to look for. Default: all."
    )
    action: Action = Field("mask", description="What to do with them.")
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)


class BanListCheck(Section):
    """Words and phrases."""

    check: Literal["ban_list"] = "ban_list"
    words: tuple[Word, ...] = Field(
        min_length=1,
        max_length=20_000,
        description="Words or phrases: whole words, whatever their case, accents or look-alike letters.",
    )
    name: Name = Field("banned", description="Kind of the findings.")
    action: Action = Field("block", description="What to do with them.")


class RegexCheck(Section):
    """Patterns of your own, in RE2's syntax. Text is searched without its Unicode tricks."""

    check: Literal["regex"] = "regex"
    patterns: dict[Name, Pattern] = Field(
        min_length=1, max_length=1000, description="Name (the kind of the findings) to pattern."
    )
    action: Action = Field("block", description="What to do with what matches.")


class UnicodeCheck(Section):
    """Characters that hide or reorder text. `mask` removes them."""

    check: Literal["unicode"] = "unicode"
    kinds: tuple[TrickKind, ...] = Field(
        get_args(TrickKind), min_length=1, description="What to look for. Default: all."
    )
    action: Action = Field("mask", description="What to do with them.")


class LengthCheck(Section):
    """A text that is too long."""

    check: Literal["length"] = "length"
    max_chars: int = Field(ge=1, le=10_000_000, description="Most characters (Unicode code points).")
    action: Literal["flag", "block"] = Field("block", description="What to do with a longer one.")


Check = Annotated[
    PiiCheck | SecretsCheck | BanListCheck | RegexCheck | UnicodeCheck | LengthCheck, Field(discriminator="check")
]
"""One check of a policy; `check` says which. `headrace_detectors` reads the same names."""


InternalOnly = Annotated[str, StringConstraints(pattern=r"^[a-z_]+(\.[a-z0-9][a-z0-9._-]*)?$", max_length=128)]


class Policy(Section):
    """Checks by direction. Of several actions the most severe holds: block, then mask, then flag."""

    input: tuple[Check, ...] = Field((), description="Over the caller's messages.")
    retrieved: tuple[Check, ...] = Field((), description="Over passages before they enter the prompt.")
    tool_call: tuple[Check, ...] = Field((), description="Over the arguments of a tool call.")
    tool_result: tuple[Check, ...] = Field((), description="Over what a tool returned.")
    output: tuple[Check, ...] = Field((), description="Over the answer, while it streams.")
    internal_only: tuple[InternalOnly, ...] = Field(
        (),
        max_length=1000,
        description="Findings, as `check` or `check.kind` (`pii`, `secrets.jwt`), in what goes in: a request that has "
        "one goes to deployments marked `internal` only, and is refused where its model has none.",
    )

    @model_validator(mode="after")
    def _can_be_found(self) -> Policy:
        possible = {
            name
            for check in (*self.input, *self.retrieved, *self.tool_call, *self.tool_result)
            for name in (check.check, *(f"{check.check}.{kind}" for kind in _kinds(check)))
        }
        for wanted in self.internal_only:
            if wanted not in possible:
                hint = nearest(wanted, possible)
                raise ValueError(f"internal_only has {wanted!r}, which no check over what goes in can find{hint}")
        return self

    @property
    def checks(self) -> dict[str, list[dict[str, Any]]]:
        """The checks by direction, as plain values."""
        return self.model_dump(mode="json", exclude={"internal_only"})


def _kinds(check: Check) -> tuple[str, ...]:
    if isinstance(check, BanListCheck):
        return (check.name,)
    if isinstance(check, RegexCheck):
        return tuple(check.patterns)
    return () if isinstance(check, LengthCheck) else check.kinds
