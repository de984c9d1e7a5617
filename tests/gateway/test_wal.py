"""The log survives crashes, continues across boots, and shows every change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.errors import ConfigError, VerificationError
from gateway.wal import GENESIS, MAGIC, Wal, closed_segments, read_segment, segment_name

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def open_wal(spool, boot="b1", **limits):
    return Wal(spool, "gw-a", 0, boot, **{"roll_bytes": 1 << 20, "roll_seconds": 10.0, **limits})


def put(wal, *names):
    wal.append([{"event_kind": "system", "reason_detail": n} for n in names], NOW, 0.0)


def names(spool):
    return [e["reason_detail"] for s in closed_segments(spool) for e in read_segment(s)]


def crash(wal):
    """Let go of the spool as the end of the process would, closing nothing properly."""
    import os

    if wal._fd is not None:
        os.close(wal._fd)
    os.close(wal._lock)


def test_what_was_appended_is_read_in_order(tmp_path):
    wal = open_wal(tmp_path)
    put(wal, "one", "two")
    put(wal, "three")
    wal.close()
    (segment,) = closed_segments(tmp_path)
    assert segment.name == "gw-a-0-0000000001.wal"
    assert segment_name(segment) == ("gw-a", 0, 1)
    events = list(read_segment(segment, GENESIS))
    assert [e["reason_detail"] for e in events] == ["one", "two", "three"]
    assert [e["seq"] for e in events] == [0, 1, 2]
    assert [e["prev_hash"] for e in events] == [GENESIS, events[0]["hash"], events[1]["hash"]]


def test_numbers_and_chain_continue_across_boots_even_after_segments_were_cleared_away(tmp_path):
    wal = open_wal(tmp_path)
    put(wal, "one")
    wal.close()
    head = list(read_segment(closed_segments(tmp_path)[0]))[-1]["hash"]
    for segment in closed_segments(tmp_path):
        segment.unlink()
    wal = open_wal(tmp_path, "b2")
    put(wal, "two")
    wal.close()
    (segment,) = closed_segments(tmp_path)
    assert segment_name(segment).segment_no == 2
    assert [e["boot_id"] for e in read_segment(segment, head)] == ["b2"]
    with pytest.raises(VerificationError, match="does not follow"):
        list(read_segment(segment, GENESIS))


def test_segments_roll_by_size(tmp_path):
    wal = open_wal(tmp_path, roll_bytes=600)
    for n in range(5):
        put(wal, str(n))
    assert len(closed_segments(tmp_path)) >= 2
    wal.close()
    assert names(tmp_path) == ["0", "1", "2", "3", "4"]


def test_segments_are_due_by_age_once_they_hold_something(tmp_path):
    wal = open_wal(tmp_path)
    assert not wal.due(1e9)
    put(wal, "one")
    assert not wal.due(9.9)
    assert wal.due(10.0)
    wal.close()


def test_a_log_torn_at_any_byte_keeps_every_whole_event(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda fd: None)  # some 10,000 of them would be all that this test measures
    wal = open_wal(tmp_path / "full")
    ends = []
    for n in range(3):
        put(wal, str(n))
        ends.append((tmp_path / "full" / "gw-a-0-0000000001.open").stat().st_size)
    crash(wal)
    raw = (tmp_path / "full" / "gw-a-0-0000000001.open").read_bytes()
    for cut in range(len(raw)):
        spool = tmp_path / f"cut{cut}"
        spool.mkdir()
        (spool / "gw-a-0-0000000001.open").write_bytes(raw[:cut])
        wal = open_wal(spool, "b2")
        put(wal, "after")
        wal.close()
        whole = sum(end <= cut for end in ends)
        assert names(spool) == [str(n) for n in range(whole)] + ["after"]
        assert wal.torn_bytes == (cut - ends[whole - 1] if whole else 0)


def test_a_crash_between_rename_and_head_changes_nothing(tmp_path):
    wal = open_wal(tmp_path)
    put(wal, "one")
    wal.roll()
    put(wal, "two")
    (tmp_path / "gw-a-0-0000000002.open").rename(tmp_path / "gw-a-0-0000000002.wal")
    crash(wal)
    wal = open_wal(tmp_path, "b2")
    put(wal, "three")
    wal.close()
    segments = closed_segments(tmp_path)
    assert [segment_name(s).segment_no for s in segments] == [1, 2, 3]
    head = GENESIS
    for segment in segments:
        for event in read_segment(segment, head):
            head = event["hash"]


def test_every_changed_byte_is_noticed(tmp_path):
    wal = open_wal(tmp_path)
    put(wal, "one", "two")
    wal.close()
    (segment,) = closed_segments(tmp_path)
    raw = segment.read_bytes()
    for i in range(len(raw)):
        segment.write_bytes(raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :])
        with pytest.raises(VerificationError, match="gw-a-0-0000000001"):
            list(read_segment(segment))


def test_a_dropped_frame_is_noticed_and_named(tmp_path):
    wal = open_wal(tmp_path)
    put(wal, "one")
    first = (tmp_path / "gw-a-0-0000000001.open").stat().st_size
    put(wal, "two")
    second = (tmp_path / "gw-a-0-0000000001.open").stat().st_size
    put(wal, "three")
    wal.close()
    (segment,) = closed_segments(tmp_path)
    raw = segment.read_bytes()
    segment.write_bytes(raw[:first] + raw[second:])
    with pytest.raises(VerificationError, match="frame 1"):
        list(read_segment(segment))


def test_a_full_disk_leaves_a_whole_chain(tmp_path, monkeypatch):
    wal = open_wal(tmp_path)
    put(wal, "one")
    import os

    write = os.write

    def half(fd, raw):
        write(fd, bytes(raw[:10]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.wal.os.write", half)
    with pytest.raises(OSError, match="No space"):
        put(wal, "lost")
    monkeypatch.undo()
    put(wal, "two")
    wal.close()
    assert names(tmp_path) == ["one", "two"]


def test_two_writers_on_one_chain_are_refused(tmp_path):
    wal = open_wal(tmp_path)
    with pytest.raises(ConfigError, match="another gateway"):
        open_wal(tmp_path)
    wal.close()


def test_a_damaged_head_is_named(tmp_path):
    (tmp_path / "gw-a-0.head").write_text("{}")
    with pytest.raises(VerificationError, match="head"):
        open_wal(tmp_path)


def test_foreign_files_are_not_segments(tmp_path):
    (tmp_path / "notes.wal").write_bytes(MAGIC)
    assert closed_segments(tmp_path) == []
    with pytest.raises(VerificationError):
        segment_name(tmp_path / "notes.wal")
