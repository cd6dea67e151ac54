"""Collections: making, finding and removing them, by API and by config."""

from __future__ import annotations

import re
from collections.abc import Sequence

from headrace_kit.errors import BadInput, Conflict, Forbidden, NotFound
from headrace_retrieval.domain.model import MEMORY, Collection, CollectionSpec
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.ports import CollectionStore, Wake

_NAME = re.compile(r"[a-z0-9_-]{1,63}")
MAX_NAME = 127
"""Of a name with its tenant."""

_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Collections:
    """What callers do with collections.

    Args:
        changed: called after a change, so that this replica sees it at once.
    """

    def __init__(self, store: CollectionStore, changed: Wake) -> None:
        self._store = store
        self._changed = changed

    async def create(self, spec: CollectionSpec) -> Collection:
        """Make a collection; the same again is no error.

        Raises:
            BadInput: a name is malformed.
            Conflict: it exists with other settings.
        """
        if not _NAME.fullmatch(spec.name):
            raise BadInput("a name has 1 to 63 of a-z, 0-9, - and _", param="collection.name")
        for position, tenant in enumerate(spec.shared_with):
            if not _TENANT.fullmatch(tenant) or tenant == spec.tenant:
                raise BadInput("shared_with names other tenants", param=f"collection.shared_with[{position}]")
        made = await self._store.create(spec)
        self._changed()
        if made.spec != spec:
            raise Conflict(
                f"collection {spec.name!r} exists with other settings; delete it first, or use another name",
                param="collection.name",
            )
        return made

    async def get(self, caller: Caller, name: str) -> Collection:
        """A collection that the caller's tenant owns or shares. Raises NotFound, BadInput as `find`."""
        return (await self.find(caller, [name], "name"))[0]

    async def all(self, caller: Caller) -> list[Collection]:
        """All that the caller's tenant owns or shares."""
        return await self._store.visible(caller)

    async def find(self, caller: Caller, names: Sequence[str], param: str) -> list[Collection]:
        """One collection a name, in the order of the names.

        A name means the tenant's own collection first, then a shared one; `<tenant>/<name>` says exactly which.

        Raises:
            NotFound: there is none that the caller may know of.
            BadInput: several tenants share one under this name.
        """
        for name in names:
            if len(name) > MAX_NAME or "\0" in name:
                raise NotFound("there is no collection of that name", param=param)
        bare = [name.rpartition("/")[2] for name in names]
        found = await self._store.named(caller, bare) if names else []
        return [self._choose(caller, name, found, param) for name in names]

    async def own(self, caller: Caller, name: str, param: str) -> Collection:
        """A collection of the caller's own tenant, to change it.

        Raises:
            NotFound: there is none.
            Forbidden: it is another tenant's, who shares it for reading only.
        """
        collection = (await self.find(caller, [name], param))[0]
        if collection.spec.tenant != caller.tenant:
            raise Forbidden(f"collection {name!r} is shared with you for reading only", param=param)
        return collection

    async def filled(self, caller: Caller, name: str, param: str) -> Collection:
        """A collection of the caller's own tenant, to put documents in or take them out.

        Raises:
            NotFound, Forbidden: as `own`.
            BadInput: it is a memory.
        """
        collection = await self.own(caller, name, param)
        if collection.spec.kind == MEMORY:
            raise BadInput(
                f"{name!r} is a memory: what it keeps of people comes and goes by /v1/memory/{{user}}", param=param
            )
        return collection

    async def memory(self, caller: Caller, name: str, param: str) -> Collection:
        """A memory of the caller's own tenant.

        Raises:
            NotFound, Forbidden: as `own`.
            BadInput: it is not a memory.
        """
        collection = await self.own(caller, name, param)
        if collection.spec.kind != MEMORY:
            raise BadInput(f"{name!r} is a collection of documents, not a memory", param=param)
        return collection

    async def delete(self, caller: Caller, name: str) -> None:
        """Remove a collection with its documents; searches do not see it from then on.

        Raises:
            NotFound, Forbidden: as `own`.
            Conflict: the config names it.
        """
        collection = await self.own(caller, name, "name")
        if collection.source == "config":
            raise Conflict(f"collection {name!r} is in the config file; take it out there first", param="name")
        await self._store.delete(collection)
        self._changed()

    @staticmethod
    def _choose(caller: Caller, name: str, found: Sequence[Collection], param: str) -> Collection:
        tenant, _, bare = name.rpartition("/")
        fitting = [one for one in found if one.spec.name == bare and tenant in ("", one.spec.tenant)]
        fitting = [one for one in fitting if one.spec.tenant == caller.tenant] or fitting
        if not fitting:
            raise NotFound(f"there is no collection {name!r}", param=param)
        if len(fitting) > 1:
            raise BadInput(f"several tenants share a collection {name!r}; write <tenant>/{bare}", param=param)
        return fitting[0]
