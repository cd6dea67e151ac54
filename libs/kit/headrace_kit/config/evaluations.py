"""`evals:` evaluation suites that rollouts run before anybody is on a candidate."""

from __future__ import annotations

from pathlib import PurePosixPath

from pydantic import Field, field_validator

from headrace_kit.config.base import Name, Section


class Evaluation(Section):
    """A suite, and for whom its questions are asked."""

    file: str = Field(
        min_length=1, max_length=512, description="The suite, a YAML file; relative to this config, beside or below it."
    )
    tenant: Name = Field(
        description="Tenant for whom the questions are asked: its models, collections and guardrails; it pays for them."
    )

    @field_validator("file")
    @classmethod
    def _below(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{file!r} is not beside or below the config: name it relative to it, without '..'")
        return file
