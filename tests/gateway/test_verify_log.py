"""`verify-log` names the first byte that does not hold, and what is missing between and after segments."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import pytest
from nacl.signing import SigningKey
from typer.testing import CliRunner

from flows.cli import app
from gateway.errors import ConfigError
from gateway.verify_log import verify_log
from gateway.wal import Wal

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEY = SigningKey(b"s" * 32)


def write(spool, boot, segments, events=3, worker=0):
    def sign(raw):
        return KEY.sign(raw).signature

    wal = Wal(spool, "gw-a", worker, boot, 1 << 20, 10.0, sign)
    for _ in range(segments):
        wal.append([{"event_kind": "system", "reason_detail": str(n)} for n in range(events)], NOW, 0.0)
        wal.roll()
    wal.close()


@pytest.fixture
def spool(tmp_path):
    write(tmp_path, "b1", 2)
    write(tmp_path, "b2", 2)
    write(tmp_path, "b1", 1, worker=1)
    return tmp_path


def segment(spool, number, suffix="wal"):
    return spool / f"gw-a-0-{number:010d}.{suffix}"


def problems(spool, public=None):
    return [str(p) for p in verify_log(spool, public).problems]


def test_a_sound_log_of_two_boots_and_two_workers(spool):
    report = verify_log(spool, bytes(KEY.verify_key))
    assert (report.problems, report.notes) == ([], [])
    assert [(s.worker, s.first, s.last, s.segments, s.events, s.boots) for s in report.streams] == [
        (0, 1, 4, 4, 12, 2),
        (1, 1, 1, 1, 3, 1),
    ]
    assert problems(segment(spool, 3)) == []


def test_an_altered_byte_is_named_with_frame_and_offset(spool):
    raw = bytearray(segment(spool, 2).read_bytes())
    first = 8 + 8 + int.from_bytes(raw[8:12], "big")
    raw[first + 50] ^= 1
    segment(spool, 2).write_bytes(raw)
    assert problems(spool) == [f"gw-a-0-0000000002.wal: frame 1 at byte {first}: altered: its checksum does not hold"]


def test_a_rewritten_frame_with_a_new_checksum_breaks_the_chain(spool, tmp_path):
    other = tmp_path / "other"
    write(other, "b1", 4)  # sound by itself, but not what the later segments continue from
    other_two = (other / segment(spool, 2).name).read_bytes().replace(b'"reason_detail":"1"', b'"reason_detail":"7"')
    segment(spool, 2).write_bytes(other_two)
    assert "frame 1" in problems(spool)[0]
    write(tmp_path / "third", "b9", 4, events=2)
    shutil.copy(tmp_path / "third" / segment(spool, 2).name, segment(spool, 2))
    assert problems(spool)[0].startswith("gw-a-0-0000000002.wal: frame 0 at byte 8: does not follow")


def test_a_segment_cut_off_at_any_frame_is_noticed(spool):
    raw = segment(spool, 4).read_bytes()
    ends = [8]
    while ends[-1] < len(raw):
        ends.append(ends[-1] + 8 + int.from_bytes(raw[ends[-1] : ends[-1] + 4], "big"))
    for end in ends[1:-1]:
        segment(spool, 4).write_bytes(raw[:end])
        assert problems(spool) == ["gw-a-0.head: gw-a-0-0000000004.wal ends with another hash"]
        assert "signature does not hold" in problems(spool, bytes(KEY.verify_key))[0]
    segment(spool, 4).write_bytes(raw[:-5])
    assert "frame 2" in problems(spool)[0]


def test_missing_segments_are_named(spool):
    for suffix in ("wal", "sig"):
        segment(spool, 2, suffix).unlink()
    assert problems(spool) == ["gw-a-0-0000000003.wal: segment 2 is missing"]
    segment(spool, 4).unlink()
    assert problems(spool) == ["gw-a-0-0000000003.wal: segment 2 is missing", "gw-a-0.head: segment 4 is missing"]


def test_the_oldest_may_have_been_cleared_away(spool):
    segment(spool, 1).unlink()
    report = verify_log(spool)
    assert report.problems == []
    assert report.notes == ["gw-a-0-0000000002.wal: segments before it are not here"]


def test_reordered_segments_are_noticed(spool):
    a, b = segment(spool, 2).read_bytes(), segment(spool, 3).read_bytes()
    segment(spool, 2).write_bytes(b)
    segment(spool, 3).write_bytes(a)
    found = problems(spool)
    assert found[0].startswith("gw-a-0-0000000002.wal: frame 0 at byte 8: does not follow")
    assert any("belongs to another segment" in p for p in found)


def test_reordered_frames_are_noticed(spool):
    raw = segment(spool, 1).read_bytes()
    first = 8 + 8 + int.from_bytes(raw[8:12], "big")
    second = first + 8 + int.from_bytes(raw[first : first + 4], "big")
    segment(spool, 1).write_bytes(raw[:8] + raw[first:second] + raw[8:first] + raw[second:])
    assert problems(spool)[0].startswith("gw-a-0-0000000001.wal: frame 0 at byte 8: does not follow")


def test_signatures_are_asked_for_with_a_key(spool):
    segment(spool, 3, "sig").unlink()
    shutil.copy(segment(spool, 1, "sig"), segment(spool, 2, "sig"))
    assert problems(spool) == []
    assert problems(spool, bytes(KEY.verify_key)) == [
        "gw-a-0-0000000002.wal: its signature does not hold for this key",
        "gw-a-0-0000000003.wal: it is not signed",
    ]
    other = bytes(SigningKey(b"x" * 32).verify_key)
    assert len(problems(spool, other)) == 5


def test_a_torn_open_segment_is_no_fault(spool):
    wal = Wal(spool, "gw-a", 0, "b3", 1 << 20, 10.0)
    wal.append([{"event_kind": "system"}] * 2, NOW, 0.0)
    path = segment(spool, 5, "open")
    path.write_bytes(path.read_bytes()[:-3])
    report = verify_log(spool)
    assert report.problems == []
    assert report.notes == [
        (
            f"gw-a-0-0000000005.open: frame 1 at byte {report_offset(path)}: cut off, or its length is damaged; "
            "normal while it is written and after a crash"
        )
    ]


def report_offset(path):
    return 8 + 8 + int.from_bytes(path.read_bytes()[8:12], "big")


def test_the_command_exits_5_and_speaks_json(spool, tmp_path):
    public = tmp_path / "log.pub"
    public.write_text(bytes(KEY.verify_key).hex())
    runner = CliRunner()
    good = runner.invoke(app, ["gateway", "verify-log", str(spool), "--key", str(public), "--json"])
    assert good.exit_code == 0
    assert (json.loads(good.stdout)["ok"], len(json.loads(good.stdout)["streams"])) == (True, 2)
    raw = segment(spool, 1).read_bytes()
    segment(spool, 1).write_bytes(raw[:-1] + b"!")
    bad = runner.invoke(app, ["gateway", "verify-log", str(spool), "--json"])
    assert bad.exception.exit_code == 5
    (problem, *_) = json.loads(bad.stdout)["problems"]
    assert (problem["file"], problem["frame"]) == (segment(spool, 1).name, 2)
    assert isinstance(problem["offset"], int)


def test_nothing_to_check_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no log segments"):
        verify_log(tmp_path)
    with pytest.raises(ConfigError, match="no such"):
        verify_log(tmp_path / "nowhere")
