"""The secrets that an installation makes for itself, once; what is there is never changed."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from headrace_kit.config.ports import SERVICES
from headrace_kit.install.kube import Kube
from headrace_kit.install.names import APP, DATABASE, OWNER, SUPERUSER

Made = dict[str, bytes]
Read = Callable[[str], str]
"""A secret's text by its key, made if it is missing."""


def admin_key() -> str:
    """A first admin key."""
    return f"hr-admin-{secrets.token_urlsafe(32)}"


def password() -> str:
    """A password; safe in URLs."""
    return secrets.token_urlsafe(24)


def missing(have: Mapping[str, bytes], *, postgres: str | None, valkey: str | None, admin: bool) -> Made:
    """The keys to add to a Secret of generated secrets.

    Args:
        have: what is in it.
        postgres: host:port of the PostgreSQL whose roles we make; None where it is somebody else's.
        valkey: host:port of the Valkey whose password we choose; None where it is somebody else's.
        admin: whether to make the first admin key.
    """
    made: Made = {}

    def of(key: str, make: Callable[[], str]) -> str:
        if key not in have and key not in made:
            made[key] = make().encode()
        return (have.get(key) or made[key]).decode().strip()

    of("tracing-key", password)
    if admin:
        of("bootstrap-admin-key", admin_key)
    of("guardrails-key", password)
    if postgres is not None:
        for role, name in ((SUPERUSER, "superuser"), (OWNER, "owner"), (APP, "app")):
            word = of(f"postgres-{name}-password", password)
            key = {"superuser": "postgres-superuser-dsn", "owner": "postgres-admin-dsn", "app": "postgres-dsn"}[name]
            url = f"postgresql://{role}:{quote(word, safe='')}@{postgres}/{DATABASE}"
            of(key, lambda url=url: url)  # type: ignore[misc]
    if valkey is not None:
        word = of("valkey-password", password)
        of("valkey-url", lambda: f"redis://:{quote(word, safe='')}@{valkey}/0")
    return made


def signing_keys() -> Made:
    """A signing key for each service, and the public halves in `jwks.json`."""
    from headrace_kit.rpc.identity import write_keys

    with tempfile.TemporaryDirectory() as folder:
        write_keys(Path(folder), SERVICES)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def keep(kube: Kube, name: str, make: Callable[[Mapping[str, bytes]], Made], labels: Mapping[str, str]) -> list[str]:
    """See that a Secret has all keys that `make` wants of it. Returns the keys that were added.

    Raises:
        KubeError: the API server refused, or could not be reached.
    """
    while True:
        have = kube.secret(name)
        made = make(have or {})
        if have is not None:
            if made:
                kube.add_to_secret(name, made)
            return sorted(made)
        if not made or kube.create_secret(name, made, labels):
            return sorted(made)
