"""What all tests share: a temporary lake, and no way out but loopback."""

from __future__ import annotations

import datetime as dt
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.lake import Lake

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not put a test's neighbours on the path

for _name in ("AISPM_HOME", "AISPM_CONFIG", "AISPM_INVENTORY", "AISPM_CRASH_AT"):
    os.environ.pop(_name, None)

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a test tried to reach {address[0]}: only loopback is allowed")
    _connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", _loopback_only)
    yield
    patch.undo()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def now() -> dt.datetime:
    return dt.datetime(2026, 11, 23, 2, 0, 0, 123456, tzinfo=dt.UTC)
