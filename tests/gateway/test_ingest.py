"""Segments reach the lake and the published database once and in order, whoever ships them and whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nacl.signing import VerifyKey

from flows.engine import PlainEngine
from flows.follow import ingest_once
from flows.ingest_gateway import Batch, commit_segments, ingest_gateway
from flows.publish import publish_events, published_file
from gateway.wal import Wal
from tasks.errors import ConfigError, IncompleteError
from tasks.evidence import verify_lake
from tasks.lake import Lake
from tasks.reporting.signing import load_public_key
from tasks.runs import Run, home_lock
from tasks.sandbox import run_query
from tasks.settings import GatewaySettings, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]


class Log:
    """A gateway's spool, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.boots, self.written = folder, 0, []

    def put(self, segments: int = 1, worker: int = 0, events: int = 2) -> None:
        self.boots += 1
        wal = Wal(self.folder, "gw-a", worker, f"b{self.boots}", 1 << 20, 10.0)
        for n in range(segments):
            names = [f"{self.boots}-{worker}-{n}-{e}" for e in range(events)]
            rows = [{"event_kind": "exchange", "request_id": r, "decision": "allow", "latency_us": 5} for r in names]
            wal.append(rows, datetime.now(UTC), 0.0)
            wal.roll()
            self.written += names
        wal.close()

    def segment(self, number: int) -> Path:
        return self.folder / f"gw-a-0-{number:010d}.wal"


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "spool")


@pytest.fixture
def settings(tmp_path, log):
    return Settings(home=tmp_path / "home", gateway=GatewaySettings(spool=str(log.folder)))


def published(settings: Settings) -> list[str]:
    answer = run_query(published_file(settings.lake), "select request_id from gateway_events order by all", wall_s=60)
    return [row[0] for row in answer.rows]


def in_lake(settings: Settings) -> list[str]:
    rows = Lake(settings.lake).query("select request_id from lake.gateway_events order by all")
    return [row["request_id"] for row in rows]


def assert_sealed(settings: Settings) -> None:
    public = VerifyKey(load_public_key(settings.keys / "aispm.pub"))
    assert verify_lake(Lake(settings.lake), public)[1] == []
    open_runs = """select distinct run_id from lake.runs
                   where run_id not in (select run_id from lake.evidence where kind = 'root')"""
    assert Lake(settings.lake).query(open_runs) == []


def test_a_pass_ships_publishes_and_seals_and_the_next_adds_nothing(log, settings):
    log.put(segments=3)
    log.put(worker=1)
    assert ingest_once(settings).events == 8
    assert published(settings) == in_lake(settings) == sorted(log.written)
    summary = "select requests, latency_p50_us from gateway_summary"
    assert run_query(published_file(settings.lake), summary, wall_s=60).rows == ((8, 5),)
    assert ingest_once(settings).events == 0
    assert len(Lake(settings.lake).query("select distinct run_id from lake.runs")) == 1
    log.put(segments=2)
    assert ingest_once(settings).events == 4
    assert published(settings) == in_lake(settings) == sorted(log.written)
    assert run_query(published_file(settings.lake), summary, wall_s=60).rows == ((12, 5),)
    assert_sealed(settings)
    # A posture run's figures are not those of the runs that only ship events.
    assert run_query(published_file(settings.lake), "from runs", wall_s=60).rows == ()


def test_a_missing_segment_stops_its_stream_until_it_is_back_or_written_off(log, settings):
    log.put(segments=4)
    log.put(worker=1)
    aside = log.segment(2).rename(log.folder / "aside")
    shipped = ingest_once(settings)
    assert (shipped.events, len(shipped.troubles)) == (4, 1)
    assert "gw/gw-a/0: segment 2 is missing" in shipped.troubles[0]
    assert ingest_once(settings, skip_missing=True).events == 4
    gaps = "select segment_no, reason_detail from lake.gateway_events where event_kind = 'gap'"
    assert [tuple(r.values()) for r in Lake(settings.lake).query(gaps)] == [(2, "segments_missing")]
    aside.rename(log.segment(2))  # too late: its number is spent
    assert ingest_once(settings).events == 0
    log.put()
    assert ingest_once(settings).events == 2
    assert_sealed(settings)


def test_a_damaged_segment_stops_its_stream_alone_and_is_named(log, settings):
    log.put(segments=2)
    log.put(worker=1)
    raw = log.segment(1).read_bytes()
    log.segment(1).write_bytes(raw[:-1] + b"!")
    shipped = ingest_once(settings)
    assert shipped.events == 2
    assert "gw-a-0-0000000001.wal: frame 1 at byte" in shipped.troubles[0]
    log.segment(1).write_bytes(raw)
    assert ingest_once(settings).events == 4
    assert in_lake(settings) == sorted(log.written)


def test_a_segment_of_another_chain_is_refused(log, settings, tmp_path):
    log.put()
    ingest_once(settings)
    other = Log(tmp_path / "other")
    other.put(segments=2, events=3)
    log.segment(2).write_bytes(other.segment(2).read_bytes())
    assert "does not follow" in ingest_once(settings).troubles[0]


def test_of_two_writers_only_the_first_adds(log, settings):
    """The nightly run and a resident one may meet at the same segments, cut into different batches."""
    log.put(segments=3)
    run = Run("r1", "nightly", settings, datetime.now(UTC), "p")
    first = Batch("gw-a", 0, 0, (log.segment(1), log.segment(2)))
    whole = Batch("gw-a", 0, 0, tuple(log.segment(n) for n in (1, 2, 3)))
    assert commit_segments(run, first)[0] == 4
    assert commit_segments(run, whole) == (0, None)
    assert commit_segments(run, first) == (0, None)
    assert ingest_gateway(run, PlainEngine()) == []
    assert in_lake(settings) == sorted(log.written)


def test_the_published_file_is_built_anew_when_adding_will_not_do(log, settings):
    log.put()
    ingest_once(settings)
    database = published_file(settings.lake)
    database.unlink()
    publish_events(Lake(settings.lake))
    assert published(settings) == sorted(log.written)


def test_a_reader_keeps_the_version_it_opened(log, settings):
    log.put()
    ingest_once(settings)
    before = published_file(settings.lake).stat().st_ino
    log.put()
    ingest_once(settings)
    assert published_file(settings.lake).stat().st_ino != before


def test_without_a_spool_it_says_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match="set `spool` under \\[gateway\\]"):
        ingest_once(Settings(home=tmp_path))


def test_a_spool_that_is_not_there_is_named_and_a_relative_one_is_beside_the_settings(tmp_path, log, monkeypatch):
    config = tmp_path / "aispm.toml"
    config.write_text('home = "home"\n[gateway]\nspool = "spool"\n')
    monkeypatch.chdir("/")
    settings = load_settings(config)
    assert ingest_once(settings).troubles == (f"there is no spool {tmp_path / 'spool'}",)
    log.put()
    assert ingest_once(settings).events == 2


def test_two_at_once_are_refused(log, settings):
    with home_lock(settings.home / "ingest.lock"), pytest.raises(IncompleteError, match="another run"):
        ingest_once(settings)


class Following:
    """`aispm ingest --follow` as a child process."""

    def __init__(self, config: Path) -> None:
        self.errors = (config.parent / "follow.txt").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows", "--config", str(config), "ingest", "--follow", "--json"],
            stdout=subprocess.PIPE, stderr=self.errors, text=True, cwd=config.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def until(self, condition) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert self.process.poll() is None, Path(self.errors.name).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        self.errors.close()
        return self.process.returncode, out


def test_following_survives_a_kill_and_stops_cleanly(log, tmp_path):
    config = tmp_path / "aispm.toml"
    config.write_text('home = "home"\n[gateway]\nspool = "spool"\n')
    settings = load_settings(config)
    log.put(segments=2)

    def all_published() -> bool:
        return published_file(settings.lake).exists() and published(settings) == sorted(log.written)

    first = Following(config)
    first.until(all_published)
    log.put()
    first.until(lambda: in_lake(settings) == sorted(log.written))
    first.end(signal.SIGKILL)
    log.put(segments=2)
    second = Following(config)
    second.until(all_published)
    log.put()  # shipped by the last pass, if not before
    code, out = second.end(signal.SIGTERM)
    assert (code, out[:35]) == (0, '{"schema": "aispm.ingest/1", "event')
    assert all_published()
    assert_sealed(settings)
    states = Lake(settings.lake).query("select run_id, state from lake.runs order by recorded_at")
    assert [row["state"] for row in states] == ["started", "abandoned", "started", "complete"]
