"""What platform engineers do; needs an admin key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.calls._base import Calls, Listed, segment
from headrace.types.admin import (
    AuditEntry,
    ConfigVersion,
    CreatedKey,
    Deployment,
    Key,
    KeyLimits,
    Rollout,
    RolloutExplanation,
)
from headrace.types.usage import Reconciliation

_DEPLOYMENTS = "/v1/admin/deployments"
LOAD_TIMEOUT_S = 3600.0
"""Seconds that a load may take, unless said otherwise."""


class AdminCalls(Calls):
    """Keys, rollouts, deployments, the config in force. Calls raise PermissionDenied without the scope `admin`."""

    async def create_key(
        self,
        tenant: str,
        name: str,
        *,
        scopes: Sequence[str] = (),
        expires_at: str | None = None,
        limits: KeyLimits | None = None,
    ) -> CreatedKey:
        """Make a key for a team; the answer is the only place where it is shown.

        Args:
            tenant: a tenant of the config.
            name: for people.
            scopes: of `admin`, `assert_identity`, `read_all`.
            expires_at: RFC 3339; None: never.
            limits: of this key, besides its team's.
        """
        body: dict[str, Any] = {"tenant": tenant, "name": name, "scopes": list(scopes)}
        if expires_at is not None:
            body["expires_at"] = expires_at
        if limits is not None:
            body["limits"] = limits
        return await self._http.call("POST", "/v1/admin/keys", CreatedKey, body=body)

    async def keys(self, *, tenant: str | None = None) -> list[Key]:
        """Keys without their secrets, of one tenant or of all."""
        return (await self._http.call("GET", "/v1/admin/keys", Listed[Key], query={"tenant": tenant})).data

    async def rotate_key(self, key_id: str, *, overlap: str | None = None) -> CreatedKey:
        """Give a key a new secret, shown only now; the old one is good for `overlap` more (`30m`, `1d`; a day).

        Raises:
            NotFound: there is no such key.
            Conflict: it was revoked, or has expired.
        """
        body = {} if overlap is None else {"overlap": overlap}
        return await self._http.call("POST", f"/v1/admin/keys/{segment(key_id)}:rotate", CreatedKey, body=body)

    async def limit_key(self, key_id: str, limits: KeyLimits | None) -> Key:
        """Give a key limits of its own in place of those it has, everywhere within a second; None: none.

        Raises:
            BadRequest: a limit is out of its range.
            NotFound: there is no such key.
            Conflict: it was revoked, or has expired.
        """
        path = f"/v1/admin/keys/{segment(key_id)}:limit"
        return await self._http.call("POST", path, Key, body={"limits": limits})

    async def reconcile(
        self, *, start: str | None = None, end: str | None = None, tenant: str | None = None, limit: int | None = None
    ) -> Reconciliation:
        """Hold the ledger against what engines counted, attempt by attempt, the newest `limit` of a time."""
        query = {"from": start, "to": end, "tenant": tenant, "limit": limit}
        return await self._http.call("GET", "/v1/admin/reconcile", Reconciliation, query=query)

    async def audit(
        self,
        *,
        tenant: str | None = None,
        action: str | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> list[AuditEntry]:
        """Who changed what: keys, budgets, the config. Newest first.

        Args:
            tenant: only of this one.
            action: only this; one that ends with a dot (`key.`): all that begin with it.
            before: id of the last entry of the page before.
            limit: 1 to 1000; 100 by default.
        """
        query = {"tenant": tenant, "action": action, "before": before, "limit": limit}
        return (await self._http.call("GET", "/v1/admin/audit", Listed[AuditEntry], query=query)).data

    async def revoke_key(self, key_id: str) -> None:
        """End a key everywhere. Raises NotFound."""
        await self._http.call("DELETE", f"/v1/admin/keys/{segment(key_id)}", object)

    async def rollouts(self, *, ended: bool = False) -> list[Rollout]:
        """Rollouts that run, or with `ended` also those that do not any more."""
        query = {"all": "true" if ended else None}
        return (await self._http.call("GET", "/v1/admin/rollouts", Listed[Rollout], query=query)).data

    async def rollout(self, rollout_id: str) -> Rollout:
        """One rollout. Raises NotFound."""
        return await self._http.call("GET", f"/v1/admin/rollouts/{segment(rollout_id)}", Rollout)

    async def start_rollout(self, model: str, spec: Mapping[str, Any], *, queue: bool = False) -> Rollout:
        """Start a rollout beside the config file; `spec` as in its `rollouts:` section.

        It takes the place of the model's rollout that runs; with `queue` it waits until that one is over.
        """
        body = {"model": model, "spec": dict(spec)} | ({"queue": True} if queue else {})
        return await self._http.call("POST", "/v1/admin/rollouts", Rollout, body=body)

    async def explain_rollout(self, rollout_id: str) -> RolloutExplanation:
        """How a rollout came where it is: transitions, decisions with their numbers, numbers over time.

        Raises NotFound.
        """
        return await self._http.call("GET", f"/v1/admin/rollouts/{segment(rollout_id)}/explanation", RolloutExplanation)

    async def approve_rollout(self, rollout_id: str, step: int) -> Rollout:
        """Let a step, from 0, go on that waits for a person. Raises Conflict when it does not."""
        path = f"/v1/admin/rollouts/{segment(rollout_id)}:approve"
        return await self._http.call("POST", path, Rollout, body={"step": step})

    async def promote_rollout(self, rollout_id: str) -> Rollout:
        """Put every request on the candidate at once. Raises Conflict when it has ended."""
        return await self._http.call("POST", f"/v1/admin/rollouts/{segment(rollout_id)}:promote", Rollout, body={})

    async def abort_rollout(self, rollout_id: str, *, reason: str = "") -> Rollout:
        """Go back to the baseline; `reason` is kept. Raises Conflict when it has ended."""
        path = f"/v1/admin/rollouts/{segment(rollout_id)}:abort"
        return await self._http.call("POST", path, Rollout, body={"reason": reason})

    async def deployments(self) -> list[Deployment]:
        """What runs the models, by name: state, version and load."""
        return (await self._http.call("GET", _DEPLOYMENTS, Listed[Deployment])).data

    async def deployment(self, name: str) -> Deployment:
        """One deployment. Raises NotFound."""
        return await self._http.call("GET", f"{_DEPLOYMENTS}/{segment(name)}", Deployment)

    async def load_deployment(self, name: str, *, wait: bool = True, timeout_s: float = LOAD_TIMEOUT_S) -> Deployment:
        """Load a deployment; one that serves is loaded anew beside itself, and no stream is dropped.

        The load goes on when this call ends early, by its timeout for example.

        Args:
            name: of the deployment.
            wait: return when it is loaded; else at once, and `deployment` tells how it goes.
            timeout_s: longest wait.

        Raises:
            NotFound: there is no such deployment.
            APIError: it could not be loaded, and why; what served before goes on. Without `wait` only what is known
                at once.
        """
        return await self._act(name, "load", wait, timeout_s)

    async def unload_deployment(self, name: str, *, wait: bool = True, timeout_s: float = LOAD_TIMEOUT_S) -> Deployment:
        """Let a deployment's requests end, then free its weights, until it is loaded again. As `load_deployment`."""
        return await self._act(name, "unload", wait, timeout_s)

    async def warm_deployment(self, name: str, *, wait: bool = True, timeout_s: float = LOAD_TIMEOUT_S) -> Deployment:
        """Run a deployment's warm-up prompts again. As `load_deployment`."""
        return await self._act(name, "warm", wait, timeout_s)

    async def _act(self, name: str, action: str, wait: bool, timeout_s: float) -> Deployment:
        path, query = f"{_DEPLOYMENTS}/{segment(name)}:{action}", {"wait": "true" if wait else "false"}
        return await self._http.call("POST", path, Deployment, body={}, query=query, timeout_s=timeout_s)

    async def config_version(self) -> ConfigVersion:
        """Which config is served."""
        return await self._http.call("GET", "/v1/admin/config", ConfigVersion)
