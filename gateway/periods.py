"""Calendar periods: which day or month of a time zone, or minute, an instant lies in. No I/O."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

MINUTE = 60


class Period(NamedTuple):
    """`name` is unique; `start` and `end` are seconds since 1970, `end` being the first instant of the next one."""

    name: str
    start: float
    end: float

    def holds(self, now: float) -> bool:
        """Whether `now` lies in it."""
        return self.start <= now < self.end


def period_at(kind: str, zone: str, now: float) -> Period:
    """The `day` or `month` of `zone` (an IANA name) at `now`.

    A day is as long as the zone makes it: 23 to 25 hours where clocks change.
    """
    place = ZoneInfo(zone)
    today = datetime.fromtimestamp(now, place).date()
    if kind == "day":
        first, following, label = today, today + timedelta(days=1), today.isoformat()
    else:
        first = today.replace(day=1)
        following, label = (first + timedelta(days=31)).replace(day=1), f"{today:%Y-%m}"
    return Period(f"{kind} {zone} {label}", _midnight(first, place), _midnight(following, place))


def minute_at(now: float) -> Period:
    """The minute of the clock at `now`."""
    start = int(now) // MINUTE * MINUTE
    return Period(f"minute {start // MINUTE}", start, start + MINUTE)


def _midnight(day: date, place: ZoneInfo) -> float:
    """The first instant of `day`; where clocks skip midnight, the instant at which they do."""
    return datetime(day.year, day.month, day.day, tzinfo=place).timestamp()


class Calendar:
    """`period_at`, remembering the current period of each kind and zone: this is asked for every request."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Period] = {}

    def at(self, kind: str, zone: str, now: float) -> Period:
        """The period of `kind` in `zone` at `now`."""
        known = self._known.get((kind, zone))
        if known is None or not known.holds(now):
            known = self._known[kind, zone] = period_at(kind, zone, now)
        return known
