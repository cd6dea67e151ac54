"""What every section of the config is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Section(BaseModel):
    """A part of `headrace.yaml`: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what a cached property reckoned of the old values does not go with it."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and (match := _DURATION.match(value.strip())):
        return float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is not a duration: write a number with ms, s, m, h or d, for example 15m")


def _basis_points(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            points = round(float(value.strip()[:-1]) * 100)
        except (ValueError, OverflowError):
            points = -1
        if points > 10_000:
            raise ValueError(f"{value!r} is more than 100%")
        if points >= 0:
            return points
    raise ValueError(f"{value!r} is not a percentage: write it with %, for example 5%")


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""A name of something in the config: 1 to 63 of `a-z 0-9 . _ -`, starting with a letter or digit."""

Duration = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=str | float),
    # not `:g`, which turns a fortnight into 1.2096e+06s: that loses digits, and cannot be read back
    PlainSerializer(lambda seconds: f"{Decimal(repr(seconds)).normalize():f}s", return_type=str),
    Field(ge=0, allow_inf_nan=False),
]
"""Seconds, written as `90s`, `15m`, `6h`, `1d` or a bare number of seconds."""

Percent = Annotated[
    int,
    BeforeValidator(_basis_points, json_schema_input_type=str),
    PlainSerializer(lambda points: f"{points / 100:g}%", return_type=str),
    Field(ge=0, le=10_000),
]
"""Hundredths of a percent, written with `%`."""


class SecretRef(Section):
    """A secret by name; its value comes from the environment, a file or a Kubernetes Secret, never from this file."""

    secret: Name = Field(description="Name of the secret.")
