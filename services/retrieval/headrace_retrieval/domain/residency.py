"""Which deployments may get a tenant's texts: those where its residency and tags allow them to be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headrace_kit.errors import Forbidden

Permits = Callable[[str, str], bool]
"""Whether a tenant's texts may be sent to a deployment, by their names."""


def anywhere(tenant: str, deployment: str) -> bool:
    """`Permits` of a platform that binds nobody."""
    return True


def refuse(permits: Permits, tenants: Iterable[str], deployment: str) -> None:
    """Raise Forbidden unless all of the tenants' texts may be sent there."""
    if not all(permits(tenant, deployment) for tenant in tenants):
        raise Forbidden(
            f"the deployment {deployment!r} is not where these texts may be computed: a tenant's residency and tags "
            "are elsewhere",
            code="deployment_not_allowed",
        )
