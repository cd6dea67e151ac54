"""`guardrails:` named policies."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from headrace_kit.config.base import Name, SecretRef, Section
from headrace_kit.config.guardrail_kinds import (
    CodeKind,
    EncodedKind,
    InstructionKind,
    LanguageCode,
    PiiKind,
    SecretKind,
    TrickKind,
    UrlKind,
)
from headrace_kit.config.nearest import nearest

Action = Literal["flag", "mask", "rewrite", "escalate", "block"]
Unmaskable = Literal["flag", "rewrite", "escalate", "block"]


_THRESHOLD = "Least confidence, 0 to 1, at which a finding counts."
_ACTION = "What to do with what is found."


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
    action: Unmaskable = Field("block", description="What to do with a longer one.")


class LanguageCheck(Section):
    """A text in another language than those that are allowed, by its script and small words. What cannot be told, such
    as code or a few words, passes. On an answer that streams up to 200 characters have gone out when it is known."""

    check: Literal["language"] = "language"
    allow: tuple[LanguageCode, ...] = Field(min_length=1, description="Languages that are allowed, by ISO 639-1 code.")
    action: Unmaskable = Field("block", description="What to do with text in another one.")
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)


class EncodedCheck(Section):
    """Payloads in disguise: decoded, and held against orders to a model and tokens of well-known shape."""

    check: Literal["encoded"] = "encoded"
    kinds: tuple[EncodedKind, ...] = Field(
        get_args(EncodedKind), min_length=1, description="Disguises to look through. Default: all."
    )
    action: Action = Field("block", description=_ACTION)
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)


class InstructionsCheck(Section):
    """Orders to a model in what should be data, by their shape. Meaning is for the check `injection`."""

    check: Literal["instructions"] = "instructions"
    kinds: tuple[InstructionKind, ...] = Field(
        get_args(InstructionKind), min_length=1, description="What to look for. Default: all."
    )
    action: Action = Field("block", description=_ACTION)
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)


class CodeCheck(Section):
    """SQL, shell and HTML that do harm where they are run or shown."""

    check: Literal["code"] = "code"
    kinds: tuple[CodeKind, ...] = Field(get_args(CodeKind), min_length=1, description="What to look for. Default: all.")
    action: Action = Field("flag", description=_ACTION)
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)


Host = Annotated[str, StringConstraints(pattern=r"^(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*$", max_length=253)]


class UrlsCheck(Section):
    """Addresses that carry data out: pictures that load by themselves, links that hold what nobody would type."""

    check: Literal["urls"] = "urls"
    kinds: tuple[UrlKind, ...] = Field(
        ("image", "data_link", "ip_host", "data_uri"), min_length=1, description="What to look for."
    )
    allow_hosts: tuple[Host, ...] = Field(
        (), max_length=1000, description="Hosts that are trusted; `*.example.org` stands for all below `example.org`."
    )
    action: Action = Field("mask", description=_ACTION)
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)


Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{8,128}$")]


class CanaryCheck(Section):
    """Words that stand in a prompt for nothing but to be seen where it leaks, plainly or in the usual encodings."""

    check: Literal["canary"] = "canary"
    tokens: tuple[Token, ...] = Field(
        min_length=1, max_length=1000, description="The words: each 8 or more ASCII letters and digits."
    )
    action: Action = Field("block", description=_ACTION)


class Costly(Section):
    """What every check of tier 2 and 3 has: it may be slow, and it may fail."""

    timeout_ms: int = Field(1000, ge=10, le=60_000, description="Longest time for a verdict, in ms.")
    on_failure: Literal["closed", "open"] = Field(
        "closed",
        description="When there is no verdict (too slow, away, raised): `closed` lets nothing pass, `open` goes on "
        "without it. `closed` is for safety, `open` for style.",
    )
    output: Literal["hold", "trail"] = Field(
        "hold",
        description="On an answer that streams: `hold` keeps text back until its verdict, `trail` lets it flow and "
        "ends the stream at a bad one.",
    )


class InjectionCheck(Costly):
    """Prompt injection and jailbreaks, by meaning: a calibrated ensemble of an embedding, a classifier and features."""

    check: Literal["injection"] = "injection"
    timeout_ms: int = Field(
        2000, ge=10, le=60_000, description="Longest time for a verdict, in ms. Passages take twice as long."
    )
    embedding: Name = Field(description="Embedding deployment whose vectors the ensemble was trained on.")
    classifier: Name | None = Field(
        None, description="A deployment of task classify whose verdict takes part. Default: none does."
    )
    label: str = Field("INJECTION", max_length=100, description="The classifier's label of an attack.")
    ensemble: str | None = Field(
        None,
        max_length=500,
        description="File of an ensemble made by `headrace guardrails tune`, beside this file. Default: the one that "
        "comes with headrace.",
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Least calibrated probability. Default: the ensemble's own for the direction."
    )
    action: Unmaskable = Field("block", description=_ACTION)


class ClassifierCheck(Costly):
    """Labels of a classifier that runs in inference: toxicity, topics and the like."""

    check: Literal["classifier"] = "classifier"
    deployment: Name = Field(description="A deployment of task classify.")
    labels: tuple[str, ...] = Field(min_length=1, max_length=1000, description="Labels that are findings.")
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)
    action: Unmaskable = Field("block", description=_ACTION)


EntityKind = Literal["person", "location", "organization"]


class NamesCheck(Costly):
    """Names of people, places and organizations, by spaCy, lists of places and the words around; the service needs the
    extra `names`."""

    check: Literal["names"] = "names"
    kinds: tuple[EntityKind, ...] = Field(("person", "location"), min_length=1, description="What to look for.")
    model: str = Field("en_core_web_sm", max_length=100, description="An installed spaCy pipeline.")
    action: Action = Field("mask", description=_ACTION)


class JsonSchemaCheck(Costly):
    """The whole text is JSON, and valid by a schema."""

    check: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any] = Field(description="JSON Schema, draft 2020-12. References go to itself only.")
    action: Unmaskable = Field("block", description=_ACTION)


class ValidatorCheck(Costly):
    """A validator of guardrails-ai; the service needs the extra `validators` and the validator's own package."""

    check: Literal["validator"] = "validator"
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] = Field(
        description="The package's name without `guardrails-ai-`, for example `regex-match`."
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="Arguments of the validator.")
    action: Action = Field("block", description="What to do when it fails; `mask` puts its own fix in place.")


class ModerationCheck(Costly):
    """An endpoint of OpenAI's moderation shape. The only check, with `judge`, whose text can leave the platform: it
    sees it after the masks of tier 1."""

    check: Literal["moderation"] = "moderation"
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2000)] = Field(
        description="Address of the endpoint."
    )
    key: SecretRef | None = Field(None, description="Its API key.")
    model: str | None = Field(None, max_length=200, description="Model to name. Default: none.")
    categories: tuple[str, ...] = Field((), max_length=100, description="Categories that count. Default: all.")
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)
    action: Unmaskable = Field("block", description=_ACTION)


class JudgeCheck(Costly):
    """A language model as the judge, with a typed verdict. Tier 3: it runs only where nothing else withheld the text.
    Sees the text after the masks of tier 1."""

    check: Literal["judge"] = "judge"
    deployment: Name = Field(description="A deployment that generates text.")
    question: str = Field(
        min_length=10, max_length=4000, description="What is to be judged, as a rule that a text can violate."
    )
    threshold: float = Field(0.5, ge=0, le=1, description=_THRESHOLD)
    budget_per_minute: int = Field(
        60, ge=0, le=100_000, description="Most judgements a minute and replica; more count as failures."
    )
    timeout_ms: int = Field(10_000, ge=10, le=120_000, description="Longest time for a verdict, in ms.")
    action: Unmaskable = Field("block", description=_ACTION)


Check = Annotated[
    PiiCheck
    | SecretsCheck
    | BanListCheck
    | RegexCheck
    | UnicodeCheck
    | LengthCheck
    | LanguageCheck
    | EncodedCheck
    | InstructionsCheck
    | CodeCheck
    | UrlsCheck
    | CanaryCheck
    | InjectionCheck
    | ClassifierCheck
    | NamesCheck
    | JsonSchemaCheck
    | ValidatorCheck
    | ModerationCheck
    | JudgeCheck,
    Field(discriminator="check"),
]
"""One check of a policy; `check` says which. `headrace_detectors` reads the same names of tier 1."""

TIERS: dict[str, int] = {
    **dict.fromkeys(("injection", "classifier", "names", "json_schema", "validator", "moderation"), 2),
    "judge": 3,
}
"""The tier of each check that costs more than tier 1."""


def tier_of(check: str) -> int:
    """1: in the gateway's process; 2: small models and workers; 3: a language model."""
    return TIERS.get(check, 1)


InternalOnly = Annotated[str, StringConstraints(pattern=r"^[a-z_]+(\.[a-z0-9][a-z0-9._-]*)?$", max_length=128)]


_REWRITE = "This content was withheld by a policy."


class Policy(Section):
    """Checks by direction. Of several actions the most severe holds: block, escalate, rewrite, mask, flag."""

    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,40}$")] = Field(
        "", description="A name for this state of the policy; findings and the audit carry it with a digest."
    )
    shadow: bool = Field(
        False, description="Judge without acting: what the policy would have done is reported, and nothing else."
    )
    rewrite: str = Field(
        _REWRITE, min_length=1, max_length=2000, description="What stands in place of a text with the action `rewrite`."
    )
    unmask: bool = Field(
        False,
        description="Put values that were masked in the caller's own messages back where the answer names their "
        "placeholders.",
    )
    spotlight: bool = Field(
        True,
        description="Mark retrieved passages and tool results as data in the prompt, where the policy checks them.",
    )
    window_chars: int = Field(
        400,
        ge=50,
        le=8000,
        description="On an answer that streams, checks of tier 2 and 3 look at pieces of about so many characters.",
    )
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
    def _sections(self) -> Policy:
        for direction, checks in self.by_direction.items():
            for check in checks:
                if isinstance(check, JsonSchemaCheck) and direction not in ("output", "tool_call"):
                    raise ValueError(f"{direction} has json_schema, which is for output and tool_call")
        return self

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
        return self.model_dump(mode="json", include=_DIRECTIONS)

    @property
    def by_direction(self) -> dict[str, tuple[Check, ...]]:
        """The checks by direction, typed."""
        return {
            direction: getattr(self, direction)
            for direction in ("input", "retrieved", "tool_call", "tool_result", "output")
        }

    @property
    def tier_1(self) -> dict[str, list[dict[str, Any]]]:
        """The checks of tier 1 by direction, as plain values: what `headrace_detectors` compiles."""
        return {name: [one for one in found if tier_of(one["check"]) == 1] for name, found in self.checks.items()}


_DIRECTIONS = {"input", "retrieved", "tool_call", "tool_result", "output"}


def _kinds(check: Check) -> tuple[str, ...]:
    if isinstance(check, BanListCheck):
        return (check.name,)
    if isinstance(check, RegexCheck):
        return tuple(check.patterns)
    if isinstance(check, ClassifierCheck):
        return check.labels
    return getattr(check, "kinds", ())
