"""Which traces are meant: what may be asked for, checked once for lists, sessions, sums and comparisons."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.rpc import Identity

ADMIN = "admin"
STATUSES = ("", "ok", "error")
TEXT_CHARS = 512
_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """None and empty strings do not restrict; `to_ns` is exclusive.

    `tenant` None means all tenants: only admins get such a filter. `user` is the keyed digest. Durations are in
    nanoseconds, costs in nano-USD. `finding` is empty, `any`, or a pattern of `direction:check.kind:action` as SQL's
    LIKE reads it.
    """

    tenant: str | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    model: str = ""
    deployment: str = ""
    arm: str = ""
    status: str = ""
    operation: str = ""
    cache: str = ""
    session: str = ""
    user: str = ""
    collection: str = ""
    config_hash: str = ""
    error: str = ""
    rollout: str = ""
    key_id: str = ""
    provider: str = ""
    service: str = ""
    min_duration_ns: int | None = None
    max_duration_ns: int | None = None
    min_cost_nano_usd: int | None = None
    max_cost_nano_usd: int | None = None
    min_feedback: float | None = None
    max_feedback: float | None = None
    label: str = ""
    guard_finding: str = ""
    text: str = ""
    escalated: bool | None = None


def checked(wanted: TraceFilter, who: Identity) -> TraceFilter:
    """The filter as `who` may ask it: for other tenants only with the scope `admin`.

    Raises:
        BadInput: a field is out of its bounds; `param` names it.
        Forbidden: another tenant, or no tenant at all.
    """
    if wanted.status not in STATUSES:
        raise BadInput("status is `ok` or `error`, or empty for both", param="status")
    for field in fields(wanted):
        value = getattr(wanted, field.name)
        if isinstance(value, str):
            if "\0" in value:
                raise BadInput(f"{field.name} has a character that no name has", param=field.name)
            if len(value) > TEXT_CHARS:
                raise BadInput(f"{field.name} has at most {TEXT_CHARS} characters", param=field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{field.name} is a finite number", param=field.name)
    if wanted.from_ns is not None and wanted.to_ns is not None and wanted.from_ns >= wanted.to_ns:
        raise BadInput("`to` must be later than `from`", param="to")
    for what in ("duration_ns", "cost_nano_usd", "feedback"):
        least, most = getattr(wanted, f"min_{what}"), getattr(wanted, f"max_{what}")
        if least is not None and most is not None and least > most:
            shown = {"duration_ns": "duration_ms", "cost_nano_usd": "cost_usd"}.get(what, what)
            raise BadInput(f"max_{shown} must not be below min_{shown}", param=f"max_{shown}")
    return _of_tenant(wanted, sees(who))


def sees(who: Identity) -> str | None:
    """The tenant whose traces a caller sees; None: all. Raises Forbidden."""
    if ADMIN in who.scopes:
        return None
    if not who.tenant:
        raise Forbidden("traces are seen by their tenant's keys, or with the scope 'admin'")
    return who.tenant


def _of_tenant(wanted: TraceFilter, tenant: str | None) -> TraceFilter:
    if tenant is not None and wanted.tenant not in (None, "", tenant):
        raise Forbidden("traces of other tenants need the scope 'admin'", param="tenant")
    values = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    return TraceFilter(**{**values, "tenant": tenant if tenant is not None else wanted.tenant or None})


def finding_pattern(asked: str) -> str:
    """The LIKE pattern of what is asked for: `pii`, `pii.email`, `input:pii.email` or `input:pii.email:mask`."""
    if not asked or asked == "any":
        return asked
    text = asked.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    direction, _, rest = text.rpartition(":") if text.count(":") == 1 else ("", "", text)
    if text.count(":") == 2:
        return text
    tail = rest if "." in rest else f"{rest}.%"
    return f"{direction or '%'}:{tail}:%"
