"""Which platform a command talks to, and with which key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.http import AsyncHeadrace
    from headrace.sync import Headrace

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
"""The option that every command has."""


@dataclass(frozen=True, slots=True)
class Target:
    """What `--url` and `--api-key` said."""

    url: str | None = None
    api_key: str | None = None

    def connect(self, *, admin: bool = False, tenant: str | None = None) -> Headrace:
        """A client with the team's key, or with the admin key, which may ask for a team. Raises NotConfigured."""
        from headrace.sync import Headrace

        return Headrace(*self._found(admin), tenant=tenant)

    def connect_async(self, *, admin: bool = False) -> AsyncHeadrace:
        """As `connect`, for commands that do several things at a time."""
        from headrace.http import AsyncHeadrace

        return AsyncHeadrace(*self._found(admin))

    def _found(self, admin: bool) -> tuple[str, str]:
        """URL and key."""
        from headrace.settings import Settings

        found = Settings.find()
        key = self.api_key or (found.require_admin_key() if admin else found.require_api_key())
        return self.url or found.require_url(), key


def connect(ctx: typer.Context, *, admin: bool = False, tenant: str | None = None) -> Headrace:
    """The client that a command uses; close it by `with`."""
    target: Target = ctx.obj
    return target.connect(admin=admin, tenant=tenant)


def group(name: str, what: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(name=name, help=what, no_args_is_help=True, rich_markup_mode="rich")
