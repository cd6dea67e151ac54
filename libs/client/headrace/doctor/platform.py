"""Checks through the platform's own API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace import errors
from headrace.doctor.clock import skew
from headrace.doctor.findings import Finding, ok, problem, unknown, warning

if TYPE_CHECKING:
    from headrace.sync import Headrace
    from headrace.types.admin import Deployment


def reachable(url: str) -> Iterator[Finding]:
    """Whether the gateway answers under its address, and whether its clock is right."""
    import httpx

    try:
        answer = httpx.get(f"{url.rstrip('/')}/v1/models", timeout=10)
    except httpx.HTTPError as error:
        yield problem(
            "gateway",
            f"{url} does not answer: {error or type(error).__name__}",
            "`make up`, or a port-forward of the gateway's Service; then `headrace doctor --url`",
        )
        return
    # Without a key the gateway says 401; anything else is somebody else's answer.
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        yield problem(
            "gateway",
            f"{url} answers {answer.status_code} to a request without a key, where the gateway says 401",
            "look at what listens there: is it the gateway, or a proxy before it that cannot reach it?",
        )
        return
    yield ok("gateway", f"{url} answers")
    yield from skew("clock", "the gateway", answer.headers.get("date"), datetime.now(UTC))


def admin(client: Headrace) -> Iterator[Finding]:
    """The config in force and the deployments, with an admin key."""
    try:
        version = client.config_version()
        deployments = client.deployments()
    except errors.APIError as error:
        advice = "set HEADRACE_ADMIN_KEY to an admin key" if error.status in (401, 403) else "look at the gateway's log"
        yield problem("config", f"the gateway answers {error.status}: {error.message}", advice)
        return
    except errors.ConnectionFailed as error:
        yield unknown("config", f"the gateway left: {error}")
        return
    if version.error:
        yield problem(
            "config",
            f"a new config was refused, {version.active} serves on: {version.error}",
            "mend headrace.yaml; `headrace config check` names line and field",
        )
    elif version.pending:
        yield warning(
            "config",
            f"{version.pending} waits until every service has it; {version.active} serves on",
            "if that lasts for over a minute, look at which service is not ready",
        )
    else:
        yield ok("config", f"{version.active} is in force")
    for deployment in deployments:
        yield _of(deployment)


def _of(deployment: Deployment) -> Finding:
    check, name = "deployments", deployment.name
    why = deployment.detail or deployment.load_error or ""
    if deployment.state == "failed":
        return problem(check, f"{name} failed: {why}", f"mend it, then `headrace models load {name}`")
    if deployment.load_error:
        return warning(
            check,
            f"{name} serves an older version: {deployment.load_error}",
            f"mend the new one, then `headrace models load {name}`",
        )
    if deployment.state in ("loading", "warming", "draining"):
        return warning(check, f"{name} is {deployment.state}{': ' + why if why else ''}", "wait, then look again")
    if deployment.state == "unloaded":
        return ok(check, f"{name} is unloaded, as asked for")
    return ok(check, f"{name} is ready on {deployment.engine}")
