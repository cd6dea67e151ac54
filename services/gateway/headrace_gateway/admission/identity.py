"""For whom a key asks: for its tenant alone, or, with a scope, for a person."""

from __future__ import annotations

from headrace_gateway.admission.keys import ApiKey
from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.rpc.call import Identity

ASSERT_IDENTITY = "assert_identity"
CHOOSE_ARM = "choose_arm"
"""Not among the scopes that a key can be given: only services of ours have it, by their signed tokens."""
_MAX_CHARS = 256
_MAX_GROUPS = 256


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
