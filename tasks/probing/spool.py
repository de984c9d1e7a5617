"""What one batch has learnt, on disk before anything else happens: a killed run re-sends only what is missing.

A finished attempt is written at once, which outlives the process; it is fsynced by a thread at most `SYNC_S` later, so
after a power cut the replies of that moment may be asked for again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson

SYNC_S = 0.05
"""Seconds between two fsyncs: one for each reply would hold every other request up."""
_TIMES = ("started_at", "ended_at")


class Spool:
    """JSON lines, one finished attempt each; mode 0600 since replies may hold what should not be out."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        """Finished attempts of an earlier, killed execution, by attempt id."""
        whole = self._read()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(self._fd, whole)  # a torn last line was never finished
        os.lseek(self._fd, whole, os.SEEK_SET)
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._syncer = threading.Thread(target=self._sync, name="spool", daemon=True)
        self._syncer.start()

    def _sync(self) -> None:
        while not self._closing.wait(SYNC_S):
            if self._dirty.is_set():
                self._dirty.clear()
                os.fsync(self._fd)

    def _read(self) -> int:
        """Load the whole lines; returns how many bytes they take."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return 0
        whole = 0
        for line in raw.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                row = orjson.loads(line)
                self.rows[row["attempt_id"]] = _with_times(row)
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        return whole

    def add(self, row: dict[str, Any]) -> None:
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        while line:
            line = line[os.write(self._fd, line) :]
        self._dirty.set()
        self.rows[row["attempt_id"]] = row

    def close(self) -> None:
        self._closing.set()
        self._syncer.join()
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
            os.close(self._fd)


def local_key(folder: Path) -> bytes:
    """The installation's secret behind all canaries; made on first use, mode 0600, kept so that a resume finds it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "canary.key"
    fresh = folder / f".canary.{os.getpid()}.{secrets.token_hex(4)}"
    if not path.exists():
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, secrets.token_bytes(32))
            os.fsync(fd)
        finally:
            os.close(fd)
        # Only one of several racing threads or processes wins; the others read the winner's.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path.read_bytes()


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    for name in _TIMES:
        row[name] = datetime.fromisoformat(row[name])
    row["dt"] = date.fromisoformat(row["dt"])
    return row
