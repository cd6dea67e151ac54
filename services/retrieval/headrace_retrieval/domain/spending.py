"""What a language model took for its work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of calls to a model. `inputs` has those that were `cached` in it."""

    inputs: int = 0
    cached: int = 0
    outputs: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.inputs + other.inputs, self.cached + other.cached, self.outputs + other.outputs)

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)


NOTHING = Tokens()
"""No model was asked."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model said, and what it took."""

    text: str
    tokens: Tokens = NOTHING
