"""Command lines of servers that are not Triton: arguments and environment, printed as shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from headrace_kit.config.base import SecretRef
from headrace_kit.config.deployments import ServerDeployment

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is never written out: the shell reads it when the server starts."""

    name: str

    @classmethod
    def of(cls, reference: SecretRef) -> Secret:
        """The secret that the config names."""
        return cls(reference.secret)

    def shell(self) -> str:
        """The variable under which headrace itself looks for the secret."""
        return '"$HEADRACE_SECRET_' + self.name.upper().replace("-", "_").replace(".", "_") + '"'


@dataclass(frozen=True, slots=True)
class Command:
    """How one server is started.

    Attributes:
        name: what it serves; the deployment, with `-plain` where it is the instance without speculation.
        argv: the program and its arguments.
        env: variables to set.
        notes: what to know beside it.
    """

    name: str
    argv: tuple[str | Secret, ...]
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def shell(self) -> str:
        """It as a shell script, an argument with its value a line."""
        lines = [f"# {note}" for note in self.notes]
        lines += [f"export {key}={_quoted(value)}" for key, value in self.env.items()]
        rows: list[str] = []
        for word in map(_quoted, self.argv):
            if rows and not word.startswith("--"):
                rows[-1] += f" {word}"
            else:
                rows.append(word)
        return "\n".join([*lines, "exec " + " \\\n  ".join(rows)]) + "\n"


def _quoted(value: str | Secret) -> str:
    return value.shell() if isinstance(value, Secret) else shlex.quote(value)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a server listens so that its deployment's address reaches it."""

    host: str
    port: int


def listen(deployment: ServerDeployment, *, plain: bool) -> Listen:
    """Host and port for a deployment's server; the plain instance has an address of its own."""
    parts = urlsplit((deployment.plain_address if plain else deployment.address) or "")
    loopback = parts.hostname in LOOPBACK
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Listen("127.0.0.1" if loopback else "0.0.0.0", port)  # other machines reach it
