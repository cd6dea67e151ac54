"""The process environment: the only place where services read `os.environ`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace_kit.config.ports import OFFSETS


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace"


class Environment(BaseSettings):
    """Settings of one process, from `HEADRACE_*` variables. What concerns the platform is in `headrace.yaml`."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore")

    config: Path = Field(Path("headrace.yaml"), description="The platform's config file.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port_base: int = Field(7800, ge=1024, le=65_000, description="First port of the platform's block of 100.")
    data_dir: Path = Field(Path(".headrace"), description="Folder of everything the platform writes.")
    secrets_dir: Path | None = Field(None, description="Folder with a file per secret. Default: `secrets` in data_dir.")
    cache_dir: Path = Field(default_factory=_user_cache, description="Folder of downloaded model files.")
    runtime: Literal["process", "ray"] = Field("process", description="What hosts the services.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")
    release: str = Field(
        "",
        max_length=200,
        description="What runs here, as rollouts of a service name it: the tag or digest of its image. Default: the "
        "version of the package.",
    )
    track: Literal["stable", "canary"] = Field(
        "stable", description="Which of a service's two groups of pods this one is of, where a new release is tried."
    )
    linger_s: float = Field(
        0,
        ge=0,
        le=120,
        description="Seconds that a process serves on after SIGTERM, not ready and with `connection: close`, until "
        "everybody who sends it requests has heard of its end; up to 10 more while HTTP requests still come. "
        "services.<name>.drain_s comes after.",
    )
    offline: bool = Field(False, description="Never download; use what is in cache_dir.")
    hub_endpoint: str = Field(
        "https://huggingface.co",
        validation_alias=AliasChoices("HEADRACE_HUB_ENDPOINT", "HF_ENDPOINT", "hub_endpoint"),
        description="Base URL of the model hub; HF_ENDPOINT, which the hub's own tools read, is read too.",
    )

    @property
    def secrets_path(self) -> Path:
        """Folder with a file per secret."""
        return self.secrets_dir or self.data_dir / "secrets"

    def port(self, name: str) -> int:
        """Port of `name` in `headrace_kit.config.ports.OFFSETS`."""
        return self.port_base + OFFSETS[name]

    def variables(self) -> Mapping[str, str]:
        """The `HEADRACE_SECRET_*` variables of this process, by upper-case name."""
        return {key: value for key, value in os.environ.items() if key.startswith("HEADRACE_SECRET_")}
