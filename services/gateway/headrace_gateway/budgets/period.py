"""Days and months of UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

DAY_NS = 86_400_000_000_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Period:
    """From the first of `days` to before `end`, counted in days since 1970."""

    name: str
    first: int
    end: int

    @property
    def resets_at(self) -> datetime:
        """When the next one begins."""
        return datetime.combine(_date(self.end), datetime.min.time(), UTC)


@lru_cache(maxsize=256)
def period_of(per: str, day: int) -> Period:
    """The `day` or `month` that a day lies in."""
    this = _date(day)
    if per == "day":
        return Period(f"day:{this}", day, day + 1)
    first = this.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Period(f"month:{first:%Y-%m}", _days(first), _days(following))


def before(per: str, period: Period) -> Period:
    """The period before one."""
    return period_of(per, period.first - 1)


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def _days(that: date) -> int:
    return (that - _EPOCH).days
