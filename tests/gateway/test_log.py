"""What an answer waits for, and what the log says of itself after the disk refused."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

import pytest

from gateway import log as log_module
from gateway.log import EventLog
from gateway.wal import Wal, closed_segments, read_segment

EVENT = {"event_kind": "system"}


@pytest.fixture
def opened(tmp_path):
    """`opened(audit)` gives a log and its segments' writer."""

    def make(audit="written", **how):
        wal = Wal(tmp_path, "gw-a", 0, "b", 1 << 20, 10.0)
        return EventLog(wal, audit, lambda: datetime(2026, 11, 24, tzinfo=UTC), **how), wal

    return make


def events(wal):
    wal.close()
    return [e for s in closed_segments(wal._spool) for e in read_segment(s)]


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("audit", ["written", "strict"])
def test_a_write_that_fails_is_refused_and_told_of_later(opened, monkeypatch, audit):
    log, wal = opened(audit)
    log.append([EVENT])
    with monkeypatch.context() as broken:
        broken.setattr("gateway.wal.os.write", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                log.append([EVENT, EVENT])
        assert (log.writable, log.lost) == (False, 4)
    log.append([EVENT])
    assert (log.writable, log.lost) == (True, 0)
    found = events(wal)
    assert [e["event_kind"] for e in found] == ["system", "gap", "system"]
    assert (found[1]["reason_detail"], found[1]["lost_events"]) == ("not_written", 4)


def test_available_goes_on_and_counts(opened, monkeypatch):
    log, wal = opened("available")
    with monkeypatch.context() as broken:
        broken.setattr("gateway.wal.os.write", full)
        log.append([EVENT])
    assert not log.writable
    log.append([])
    assert [(e["event_kind"], e["lost_events"]) for e in events(wal)] == [("gap", 1)]


def test_the_keeper_tries_again_without_traffic(opened, monkeypatch):
    log, wal = opened()
    with monkeypatch.context() as broken:
        broken.setattr("gateway.wal.os.write", full)
        with pytest.raises(OSError, match="No space"):
            log.append([EVENT])

    async def main():
        keeper = asyncio.create_task(log.keep(0.01))
        while not log.writable:
            await asyncio.sleep(0.01)
        keeper.cancel()

    asyncio.run(main())
    assert [e["lost_events"] for e in events(wal)] == [1]


def test_the_keeper_closes_segments_that_are_old_enough(opened, tmp_path):
    log, wal = opened()
    wal._roll_seconds = 0.01

    async def main():
        log.append([EVENT])
        keeper = asyncio.create_task(log.keep(0.01))
        while not closed_segments(tmp_path):
            await asyncio.sleep(0.01)
        keeper.cancel()

    asyncio.run(main())
    assert len(events(wal)) == 1


def test_strict_answers_share_syncs_and_wait_for_them(opened, monkeypatch):
    log, wal = opened("strict")
    synced = []

    def sync(fd):
        synced.append(wal.position)
        os.close(fd)

    monkeypatch.setattr(log_module, "_sync_and_close", sync)

    async def answer():
        log.append([EVENT])
        mine = wal.position
        await log.durable()
        assert any(position >= mine for position in synced)

    async def main():
        await asyncio.gather(*(answer() for _ in range(200)))

    asyncio.run(main())
    assert 1 <= len(synced) < 20
    assert len(events(wal)) == 200


def test_a_sync_that_fails_ends_strict_service_until_the_restart(opened, monkeypatch):
    """A later success of the same call would not mean that the pages reached the disk."""
    log, wal = opened("strict")

    def fails(fd):
        os.close(fd)
        raise OSError(5, "Input/output error")

    async def main():
        log.append([EVENT])
        with monkeypatch.context() as broken:
            broken.setattr(log_module, "_sync_and_close", fails)
            with pytest.raises(OSError, match="Input/output"):
                await log.durable()
        assert not log.writable
        with pytest.raises(OSError, match="restart"):
            log.append([EVENT])

    asyncio.run(main())
    wal.close()


def test_only_strict_waits(opened, monkeypatch):
    log, wal = opened("written")
    monkeypatch.setattr(log_module, "_sync_and_close", full)
    log.append([EVENT])
    asyncio.run(log.durable())
    wal.close()


def test_every_event_is_observed(opened):
    seen = []
    log, wal = opened(observe=seen.append)
    log.append([EVENT, {"event_kind": "exchange"}])
    wal.close()
    assert [e["event_kind"] for e in seen] == ["system", "exchange"]


def test_a_torn_tail_is_told_of(opened, tmp_path):
    log, wal = opened()
    log.append([EVENT, EVENT])
    os.close(wal._fd)
    os.close(wal._lock)
    (path,) = tmp_path.glob("*.open")
    path.write_bytes(path.read_bytes()[:-1])
    _, wal = opened()
    assert [(e["event_kind"], e.get("reason_detail")) for e in events(wal)] == [("system", None), ("gap", "torn_tail")]
