"""`headrace.gateway.v1.AdminService`."""

from __future__ import annotations

import json
from collections.abc import Callable

from headrace_gateway.admin import KeyAdmin, KeyInfo
from headrace_gateway.admission.door import Door
from headrace_gateway.audit import AuditReader, Noted
from headrace_gateway.deployments import Action, DeploymentAdmin
from headrace_gateway.grpc_api.visits import visiting
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.gateway.v1 import service_pb2_grpc

SERVICE = "headrace.gateway.v1.AdminService"


class AdminServicer(service_pb2_grpc.AdminServiceServicer):
    """For platform engineers over gRPC.

    Args:
        runtime: of the process.
        door: lets calls in.
        keys: makes and revokes keys.
        deployments: looks at deployments, loads and unloads them.
        config_version: hashes of the active and the pending snapshot, and why the newest file was refused.
        audit: who changed what.
    """

    def __init__(
        self,
        runtime: RpcRuntime,
        door: Door,
        keys: KeyAdmin,
        deployments: DeploymentAdmin,
        config_version: Callable[[], tuple[str, str, str]],
        audit: AuditReader,
    ) -> None:
        self.rpc_runtime = runtime
        self._audit = audit
        self._door, self._keys, self._deployments, self._config_version = door, keys, deployments, config_version

    @rpc(public=True)
    async def CreateKey(self, request: pb.CreateKeyRequest, call: Call) -> pb.CreateKeyResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, admin=True) as visit:
            key, secret = await self._keys.create(
                *(visit.ctx, request.tenant, request.name, request.scopes, request.expires_at),
                _limits(request.limits),
            )
            return pb.CreateKeyResponse(id=key.id, key=secret)

    @rpc(public=True)
    async def ListKeys(self, request: pb.ListKeysRequest, call: Call) -> pb.ListKeysResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, admin=True, traced=False):
            found = await self._keys.list(request.tenant or None)
            return pb.ListKeysResponse(keys=[_key(self._keys.show(key)) for key in found])

    @rpc(public=True)
    async def RotateKey(self, request: pb.RotateKeyRequest, call: Call) -> pb.RotateKeyResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, admin=True) as visit:
            key, secret = await self._keys.rotate(visit.ctx, request.id, request.overlap)
            return pb.RotateKeyResponse(id=key.id, key=secret, previous_until=self._keys.show(key).previous_until)

    @rpc(public=True)
    async def LimitKey(self, request: pb.LimitKeyRequest, call: Call) -> pb.LimitKeyResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, admin=True) as visit:
            key = await self._keys.limit(visit.ctx, request.id, _limits(request.limits))
            return pb.LimitKeyResponse(key=_key(self._keys.show(key)))

    @rpc(public=True)
    async def ListAudit(self, request: pb.ListAuditRequest, call: Call) -> pb.ListAuditResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, admin=True, traced=False) as visit:
            limit = request.limit if request.HasField("limit") else None
            found = await self._audit.list(visit.ctx, request.tenant, request.action, request.before, limit)
            return pb.ListAuditResponse(entries=[_entry(noted) for noted in found])

    @rpc(public=True)
    async def RevokeKey(self, request: pb.RevokeKeyRequest, call: Call) -> pb.RevokeKeyResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, admin=True) as visit:
            await self._keys.revoke(visit.ctx, request.id)
            return pb.RevokeKeyResponse()

    @rpc(public=True)
    async def GetConfigVersion(self, request: pb.GetConfigVersionRequest, call: Call) -> pb.GetConfigVersionResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, admin=True, traced=False):
            active, pending, error = self._config_version()
            return pb.GetConfigVersionResponse(active=active, pending=pending, error=error)

    @rpc(public=True)
    async def ListDeployments(self, request: pb.ListDeploymentsRequest, call: Call) -> pb.ListDeploymentsResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, admin=True, traced=False) as visit:
            return pb.ListDeploymentsResponse(deployments=await self._deployments.list(visit.ctx, request.names))

    @rpc(public=True)
    async def LoadDeployment(self, request: pb.LoadDeploymentRequest, call: Call) -> pb.Deployment:
        """See the proto."""
        return await self._act("load", request.deployment, request.wait, call)

    @rpc(public=True)
    async def UnloadDeployment(self, request: pb.UnloadDeploymentRequest, call: Call) -> pb.Deployment:
        """See the proto."""
        return await self._act("unload", request.deployment, request.wait, call)

    @rpc(public=True)
    async def WarmDeployment(self, request: pb.WarmDeploymentRequest, call: Call) -> pb.Deployment:
        """See the proto."""
        return await self._act("warm", request.deployment, request.wait, call)

    async def _act(self, action: Action, name: str, wait: bool, call: Call) -> pb.Deployment:
        async with visiting(self._door, call, SERVICE, admin=True) as visit:
            return await self._deployments.act(visit.ctx, action, name, wait=wait)


def _limits(limits: pb.KeyLimits) -> dict[str, int | None]:
    """What is set, by name."""
    return {field.name: value for field, value in limits.ListFields()}


def _key(info: KeyInfo) -> pb.KeyInfo:
    return pb.KeyInfo(
        id=info.id,
        tenant=info.tenant,
        name=info.name,
        scopes=info.scopes,
        created_at=info.created_at,
        expires_at=info.expires_at,
        revoked_at=info.revoked_at,
        rotated_at=info.rotated_at,
        previous_until=info.previous_until,
        limits=pb.KeyLimits(**info.limits) if info.limits else None,
    )


def _entry(noted: Noted) -> pb.AuditEntry:
    entry = noted.entry
    return pb.AuditEntry(
        id=noted.id,
        at=noted.at.isoformat(timespec="milliseconds"),
        actor=entry.actor,
        action=entry.action,
        tenant=entry.tenant,
        subject=entry.subject,
        before_json="" if entry.before is None else json.dumps(entry.before),
        after_json="" if entry.after is None else json.dumps(entry.after),
    )
