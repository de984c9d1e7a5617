"""Days and months begin where the zone's calendar says, also where clocks change at midnight."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.periods import Calendar, minute_at, period_at


def at(text, zone):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("zone", "noon", "hours"),
    [
        ("Europe/Berlin", "2026-03-28T12:00", 24),
        ("Europe/Berlin", "2026-03-29T12:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", 25),
        ("America/Santiago", "2026-09-06T12:00", 23),  # 00:00 does not exist: clocks go from 24:00 to 01:00
        ("America/Santiago", "2026-04-04T12:00", 25),  # 23:00 to 24:00 comes twice
        ("America/Havana", "2026-11-01T12:00", 25),  # 00:00 to 01:00 comes twice
        ("Asia/Kathmandu", "2026-03-29T12:00", 24),
    ],
)
def test_a_day_is_as_long_as_the_zone_makes_it(zone, noon, hours):
    day = period_at("day", zone, at(noon, zone))
    assert day.end - day.start == hours * 3600
    assert day.name == f"day {zone} {noon[:10]}"
    assert period_at("day", zone, day.end - 0.001) == day
    following = period_at("day", zone, day.end)
    assert following.start == day.end
    assert following.name != day.name


@pytest.mark.parametrize(
    ("month", "days"), [("2026-02", 28), ("2028-02", 29), ("2026-12", 31), ("2026-10", 31), ("2026-04", 30)]
)
def test_a_month_is_as_long_as_the_calendar_says(month, days):
    zone = "Europe/Berlin"
    for day in ("01T00:00", "15T12:00", f"{days}T23:59"):
        period = period_at("month", zone, at(f"{month}-{day}", zone))
        assert period.name == f"month {zone} {month}"
        hour_of_summer_time = {"2026-10": 1}.get(month, 0)
        assert period.end - period.start == (days * 24 + hour_of_summer_time) * 3600


def test_the_same_instant_is_another_day_elsewhere():
    now = at("2026-11-25T23:30", "Europe/Berlin")
    assert period_at("day", "Europe/Berlin", now).name.endswith("2026-11-25")
    assert period_at("day", "Pacific/Auckland", now).name.endswith("2026-11-26")
    assert period_at("month", "Pacific/Kiritimati", at("2026-11-30T12:00", "UTC")).name.endswith("2026-12")


@given(
    st.sampled_from(["day", "month"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago", "Africa/Cairo", "Asia/Beirut", "Australia/Lord_Howe"]),
    st.integers(1_700_000_000, 2_000_000_000),
)
def test_periods_follow_each_other_without_gap_or_overlap(kind, zone, now):
    calendar = Calendar()
    period = calendar.at(kind, zone, now)
    assert period.holds(now)
    assert calendar.at(kind, zone, period.end - 1) is period
    following = calendar.at(kind, zone, period.end)
    assert following.start == period.end
    assert calendar.at(kind, zone, now) == period  # a clock that is set back


def test_minutes_are_those_of_the_clock():
    assert minute_at(119.9).start == 60
    assert minute_at(120).name != minute_at(119.9).name
