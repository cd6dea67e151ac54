"""Questions to the ledger: what was used, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from headrace_kit.config.nearest import nearest
from headrace_kit.errors import BadInput
from headrace_kit.rpc.call import Identity

_DEFAULT = timedelta(days=30)
_SECOND = timedelta(seconds=1)


class Group(StrEnum):
    """What usage can be grouped by."""

    DAY = "day"
    HOUR = "hour"
    TENANT = "tenant"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    ARM = "arm"
    TRACK = "track"
    KEY = "key"
    OPERATION = "operation"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """From `start` on, before `end`. `tenant` None asks for all."""

    groups: tuple[Group, ...]
    start: datetime
    end: datetime
    tenant: str | None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group's sums; `keys` in the order of the query's groups.

    Overhead is the cost of what was not given: rejected cascade stages, judging, rewritten queries; saved is what
    answers from the cache did not cost again.
    """

    keys: tuple[str, ...]
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    overhead_nano_usd: int
    cache_hits: int = 0
    saved_nano_usd: int = 0


def tenant_of(identity: Identity, asked: str | None) -> str | None:
    """Whose usage a caller sees that asks for a tenant's: its own, or with the scope `admin` any or all (None).

    Raises:
        Forbidden: another tenant's was asked for without that scope.
    """
    if "admin" in identity.scopes:
        return asked
    if asked is not None and asked != identity.tenant:
        identity.require("admin")
    return identity.tenant


def read_query(group_by: str, start: str, end: str, tenant: str | None) -> UsageQuery:
    """A query from its texts: groups by commas, days or RFC 3339 times; the last 30 days by default.

    Raises:
        BadInput: an unknown group, a bad time, or nothing between the two.
    """
    names = [name.strip() for name in group_by.split(",") if name.strip()]
    for name in names:
        if name not in list(Group):
            raise BadInput(f"cannot group by {name[:64]!r}{nearest(name[:64], list(Group))}", param="group_by")
    until = _time(end, "to") if end else datetime.now(UTC) + _SECOND
    since = _time(start, "from") if start else until - _DEFAULT
    if since >= until:
        raise BadInput("from must be before to", param="from")
    return UsageQuery(tuple(Group(name) for name in dict.fromkeys(names)), since, until, tenant)


def _time(text: str, param: str) -> datetime:
    try:
        # A plus sign of an offset arrives as a blank where it was not escaped.
        parsed = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError as error:
        raise BadInput(f"{param} is a day like 2026-11-01 or an RFC 3339 time", param=param) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
