"""Secrets of a local platform: made once, a file each, readable by their owner alone.

The kit is imported where it is needed: the steps before the first service starts should not wait for it.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from headrace_local.layout import Layout

DATABASE = "headrace"
SUPERUSER, OWNER, APP = "headrace_admin", "headrace_owner", "headrace_app"
"""Roles of PostgreSQL: the superuser of the embedded server, the owner of the schemas, the one that services use."""

_PASSWORDS = ("postgres-superuser-password", "postgres-owner-password", "postgres-app-password", "valkey-password")


def ensure(layout: Layout, *, postgres_port: int, valkey_port: int) -> None:
    """Make the secrets that are missing, and write the addresses of the stores for these ports."""
    for name in _PASSWORDS:
        _once(layout.secrets / name, lambda: secrets.token_urlsafe(24))
    _once(layout.secrets / "tracing-key", lambda: secrets.token_urlsafe(32))
    _once(layout.secrets / "guardrails-key", lambda: secrets.token_urlsafe(32))
    _once(layout.secrets / "bootstrap-admin-key", lambda: f"hr-admin-{secrets.token_urlsafe(32)}")
    if not (layout.secrets / "signing" / "jwks.json").exists():
        from headrace_kit.config.ports import SERVICES
        from headrace_kit.rpc.identity import write_keys

        write_keys(layout.secrets / "signing", SERVICES)
    for role, password, name in (
        (SUPERUSER, "postgres-superuser-password", "postgres-superuser-dsn"),
        (OWNER, "postgres-owner-password", "postgres-admin-dsn"),
        (APP, "postgres-app-password", "postgres-dsn"),
    ):
        write(layout, name, f"postgresql://{role}:{read(layout, password)}@127.0.0.1:{postgres_port}/{DATABASE}")
    write(layout, "valkey-url", f"redis://:{read(layout, 'valkey-password')}@127.0.0.1:{valkey_port}/0")


def read(layout: Layout, name: str) -> str | None:
    """The secret's value, or None where there is no such file."""
    try:
        return (layout.secrets / name).read_text().strip()
    except FileNotFoundError:
        return None


def write(layout: Layout, name: str, value: str) -> None:
    """Replace a secret in one step."""
    write_private(layout.secrets / name, value + "\n")


def write_private(path: Path, content: str) -> None:
    """Replace a file in one step; only its owner may read it, at no time anybody else."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _once(path: Path, make: Callable[[], str]) -> None:
    if not path.exists():
        write_private(path, make() + "\n")
