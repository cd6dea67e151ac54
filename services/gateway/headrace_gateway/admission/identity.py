"""For whom a key asks: for its tenant alone, or, with a scope, for a person."""

from __future__ import annotations

import re
from dataclasses import replace

from headrace_gateway.admission.keys import ApiKey
from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.rpc.call import Identity

ASSERT_IDENTITY = "assert_identity"
CHOOSE_ARM = "choose_arm"
"""Not among the scopes that a key can be given: only services of ours have it, by their signed tokens."""
TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
TENANTS = "a tenant is 1 to 63 of a-z, 0-9, '.', '_', '-', starting with a letter or digit"
_ADMIN = "admin"
_MAX_CHARS = 256
_MAX_GROUPS = 256


def acting_for(key: ApiKey, tenant: str) -> ApiKey:
    """An admin's key as one of another team's: who may give keys to every team may as well ask as one.

    Raises:
        Forbidden: the key has not the scope `admin`.
        BadInput: that is no tenant's name.
    """
    if tenant == key.tenant:
        return key
    if _ADMIN not in key.scopes:
        raise Forbidden(f"asking for another team needs a key with the scope {_ADMIN!r}", param="x-headrace-tenant")
    if not TENANT.fullmatch(tenant):
        raise BadInput(TENANTS, param="x-headrace-tenant")
    return replace(key, tenant=tenant)


def identity_of(key: ApiKey, user: str = "", groups: tuple[str, ...] = ()) -> Identity:
    """The identity that travels on.

    Raises:
        Forbidden: a user or group was named by a key without the scope `assert_identity`.
        BadInput: a name is too long, or there are too many groups.
    """
    if user or groups:
        if ASSERT_IDENTITY not in key.scopes:
            raise Forbidden(
                f"naming a user or groups needs a key with the scope {ASSERT_IDENTITY!r}", param="headrace.user"
            )
        if len(user) > _MAX_CHARS or any(len(group) > _MAX_CHARS for group in groups):
            raise BadInput(f"a user or group has at most {_MAX_CHARS} characters", param="headrace.user")
        if any("\0" in name for name in (user, *groups)):
            raise BadInput("a user or group holds a NUL character", param="headrace.user")
        if len(groups) > _MAX_GROUPS:
            raise BadInput(f"at most {_MAX_GROUPS} groups", param="headrace.groups")
    return Identity("gateway", key.tenant, key.id, user, tuple(dict.fromkeys(groups)), key.scopes)
