"""Who may read what.

A document's rights and a caller's standing are both sets of tokens: `public`, `u:<user>`, `g:<group>`. A caller may
read a document when the sets meet. The same tokens are filter terms of the lexical index, a column in PostgreSQL, and
what row-level security compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PUBLIC = "public"
READ_ALL = "read_all"
ASSERT_IDENTITY = "assert_identity"


@dataclass(frozen=True, slots=True)
class Acl:
    """Who may read a document. Empty: nobody but keys that may read all of their tenant's documents."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    public: bool = False

    def readers(self) -> frozenset[str]:
        """Its tokens. A public document needs no others."""
        if self.public:
            return frozenset({PUBLIC})
        return _tokens(self.users, self.groups)


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a call is.

    `read_all` is the key's scope. It counts for the tenant's own collections, and only while the key asks for itself:
    a key that names a user or groups gets what these may read. `speaks` is the key's right to say for whom it asks.
    """

    tenant: str
    user: str = ""
    groups: tuple[str, ...] = ()
    read_all: bool = False
    speaks: bool = False

    @property
    def readers(self) -> frozenset[str]:
        """What the caller may stand for."""
        return _tokens((self.user,) if self.user else (), self.groups) | {PUBLIC}

    @property
    def whole_tenant(self) -> bool:
        """Whether every document of the tenant's own collections may be read."""
        return self.read_all and not self.user and not self.groups

    def may_act_for(self, person: str) -> bool:
        """Whether what is kept of a person may be seen and changed."""
        itself = not self.user and not self.groups
        return self.user == person or (itself and (self.read_all or self.speaks))


def readers_of(acl: Acl | None, acl_required: bool) -> frozenset[str]:
    """The tokens of a document in a collection.

    A document without an ACL is public to the collection's tenants, unless the collection asks for one: then it is
    nobody's (it got in before the collection asked).
    """
    if acl is not None:
        return acl.readers()
    return frozenset() if acl_required else frozenset({PUBLIC})


def narrow(old: frozenset[str], new: frozenset[str]) -> frozenset[str]:
    """The readers of old text while its replacement, which `new` may read, is not searchable yet.

    Never more than either: a right that was revoked ends at once, and a right that was granted to the new text does
    not open the old one. A group is not looked into, so somebody who is in both by different tokens waits.
    """
    if PUBLIC in old:
        return new
    if PUBLIC in new:
        return old
    return old & new


def _tokens(users: Iterable[str], groups: Iterable[str]) -> frozenset[str]:
    return frozenset(f"u:{user}" for user in users) | frozenset(f"g:{group}" for group in groups)
