"""Errors of commands as one clear line with what to do; never a traceback.

Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import typer
from typer.core import TyperGroup

from headrace import errors

_JSON = "headrace.json"
_DEBUG = "HEADRACE_DEBUG"


class Failure(Exception):
    """A command could not do its work; the message is the line that is shown."""


class Commands(TyperGroup):
    """The root group: what any command raises ends here."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether the caller reads JSON."""
        ctx.meta[_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # whoever read our output has left; nothing more can be said
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if os.environ.get(_DEBUG):
                raise
            _report(error, as_json=ctx.meta[_JSON])
            raise typer.Exit(1) from None


def _report(error: Exception, *, as_json: bool) -> None:
    message = describe(error)
    if not as_json:
        typer.echo(f"headrace: {message}", err=True)
        return
    import msgspec

    fields: dict[str, Any] = {"message": message}
    if isinstance(error, errors.APIError):
        fields |= {"status": error.status, "code": error.code, "param": error.param, "request_id": error.request_id}
    typer.echo(msgspec.json.encode({"error": fields}).decode(), err=True)


def describe(error: Exception) -> str:
    """One line: what was wrong, and what to do."""
    if isinstance(error, errors.APIError):
        about = "; ".join(part for part in (error.message.rstrip("."), _advice(error)) if part)
        return f"{about} (request {error.request_id})" if error.request_id and error.status >= 500 else about
    if isinstance(error, errors.ConnectionFailed):
        return f"{error}; is the platform running? Start it with: make up"
    if isinstance(error, errors.HeadraceError | Failure):
        return str(error)
    kit = sys.modules.get("headrace_kit.errors")
    if kit is not None and isinstance(error, kit.HeadraceError):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    return f"this should not happen: {type(error).__name__}: {error} ({_DEBUG}=1 shows where)"


def _advice(error: errors.APIError) -> str:
    if isinstance(error, errors.AuthenticationFailed):
        return "HEADRACE_API_KEY holds it; make one with: headrace keys create TENANT NAME"
    if isinstance(error, errors.PermissionDenied):
        return "admin commands take HEADRACE_ADMIN_KEY"
    if isinstance(error, errors.RateLimited):
        return f"try again in {error.retry_after_s or 1:g} s"
    if isinstance(error, errors.NotFound):
        subject = next((word for word in ("model", "collection", "trace", "rollout") if word in error.code), "")
        return f"see: headrace {subject}s list" if subject else ""
    return ""


def missing(module: str, what: str) -> Failure:
    """A part of the platform is not installed beside the client."""
    return Failure(f"{what} is not installed here ({module}): run this in a clone of headrace, after: make up")
