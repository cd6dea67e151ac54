"""Where the platform is and which key to use: arguments, then the environment, then the file that `make up` writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import NotConfigured

URL, GRPC, API_KEY, ADMIN_KEY = "HEADRACE_URL", "HEADRACE_GRPC", "HEADRACE_API_KEY", "HEADRACE_ADMIN_KEY"


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses and keys; None where nothing names one.

    `source` is the file that was read, for messages; None when there was none.
    """

    url: str | None = None
    grpc: str | None = None
    api_key: str | None = None
    admin_key: str | None = None
    source: Path | None = None

    @classmethod
    def find(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read `HEADRACE_*` variables, and for what they leave open `<data dir>/env`.

        The data directory is `HEADRACE_DATA_DIR`, by default `.headrace` in the working directory.
        """
        environ = os.environ if environ is None else environ
        path = Path(environ.get("HEADRACE_DATA_DIR") or ".headrace") / "env"
        written = _read(path)
        found = {name: environ.get(name) or written.get(name) for name in (URL, GRPC, API_KEY, ADMIN_KEY)}
        return cls(found[URL], found[GRPC], found[API_KEY], found[ADMIN_KEY], path if written else None)

    def require_url(self) -> str:
        """The base URL. Raises NotConfigured when there is none."""
        return _require(self.url, URL, "the platform's address is not known")

    def require_grpc(self) -> str:
        """host:port of the gRPC API. Raises NotConfigured when there is none."""
        return _require(self.grpc, GRPC, "the platform's gRPC address is not known")

    def require_api_key(self) -> str:
        """A product team's key. Raises NotConfigured when there is none."""
        return _require(self.api_key, API_KEY, "no API key is set")

    def require_admin_key(self) -> str:
        """A platform engineer's key. Raises NotConfigured when there is none."""
        return _require(self.admin_key, ADMIN_KEY, "no admin key is set")


def _require(value: str | None, variable: str, problem: str) -> str:
    if not value:
        raise NotConfigured(f"{problem}: set {variable}, or start a platform on this machine with: make up")
    return value


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.strip().removeprefix("export ").split("=", 1) for line in lines if "=" in line)
    return {name: value.strip("'\"") for name, value in pairs if not name.startswith("#")}
