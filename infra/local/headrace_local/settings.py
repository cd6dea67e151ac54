"""What a person chooses about a platform on this machine."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headrace_kit.config.environment import Environment
from headrace_local.layout import Layout


class SettingsInvalid(ValueError):
    """What was asked for is not possible."""


def _default_config() -> Path:
    return Path(__file__).with_name("headrace.yaml")


def _default_triton_env() -> Path:
    return Path(os.environ.get("HEADRACE_TRITON_ENV") or Path(sys.prefix).with_name(".venv-triton"))


@dataclass(frozen=True)
class Settings:
    """One platform.

    Attributes:
        data_dir: folder of everything it writes.
        port_base: first of its 100 ports.
        config: its headrace.yaml; the one in this package by default.
        runtime: what hosts the services: `process` or `ray`.
        cache_dir: folder of model files, shared by platforms.
        offline: never download model files.
        triton_env: virtual environment that holds Triton and what its Python models import.
    """

    data_dir: Path
    port_base: int = 7800
    config: Path = field(default_factory=_default_config)
    runtime: str = "process"
    cache_dir: Path = field(default_factory=lambda: Environment().cache_dir)
    offline: bool = False
    triton_env: Path = field(default_factory=_default_triton_env)

    @classmethod
    def from_environment(
        cls, *, config: Path | None = None, runtime: str | None = None, port_base: int | None = None
    ) -> "Settings":
        """From HEADRACE_* variables; arguments win.

        Raises:
            SettingsInvalid: a variable or an argument has no valid value; the message says which.
        """
        try:
            given: dict[str, Any] = {"runtime": runtime, "port_base": port_base}
            env = Environment(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            problems = [f"HEADRACE_{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors()]
            raise SettingsInvalid("; ".join(problems)) from error
        named = config or (env.config if "HEADRACE_CONFIG" in os.environ else None)
        return cls(
            data_dir=env.data_dir,
            port_base=env.port_base,
            config=named.resolve() if named else _default_config(),
            runtime=env.runtime,
            cache_dir=env.cache_dir.resolve(),
            offline=env.offline,
        )

    @property
    def layout(self) -> Layout:
        """Where its files are."""
        return Layout.of(self.data_dir)

    def environment(self) -> dict[str, str]:
        """The HEADRACE_* variables that every process of the platform gets."""
        layout = self.layout
        return {
            "HEADRACE_CONFIG": str(self.config),
            "HEADRACE_HOST": "127.0.0.1",
            "HEADRACE_PORT_BASE": str(self.port_base),
            "HEADRACE_DATA_DIR": str(layout.data_dir),
            "HEADRACE_SECRETS_DIR": str(layout.secrets),
            "HEADRACE_CACHE_DIR": str(self.cache_dir),
            "HEADRACE_RUNTIME": self.runtime,
            "HEADRACE_OFFLINE": "true" if self.offline else "false",
            "HEADRACE_TRITON_ENV": str(self.triton_env),
        }
