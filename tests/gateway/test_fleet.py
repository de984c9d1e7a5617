"""A publication reaches every gateway of a fleet: the sizes and the limit are those that the documentation states."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not put a test's neighbours on the path

from fleet import Fleet

LIMIT_SECONDS = 30.0
"""In which a revocation must be everywhere. The usual time is far below and is measured by the bench, not here."""


@pytest.fixture
def fleet(tmp_path, request, conftest_module):
    made = Fleet(tmp_path, conftest_module, request.param)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.timeout(900)  # twenty starts take minutes where other tests run beside them
@pytest.mark.parametrize("fleet", [3, pytest.param(20, marks=pytest.mark.full)], indirect=True)
def test_revocations_of_agents_and_of_policy_keys_reach_every_gateway(fleet):
    for change in (fleet.revoke, fleet.restore, fleet.replace_policy_key):
        took = change()
        assert took.keys() == set(fleet.names)
        assert max(took.values()) <= LIMIT_SECONDS
    deadline = time.monotonic() + LIMIT_SECONDS
    while not all(row["current"] for row in fleet.status()["gateways"]):
        assert time.monotonic() < deadline, fleet.status()
        time.sleep(0.1)
    for gateway in fleet.gateways.values():
        gateway.stop()
        taken = [r["policy_epoch"] for r in gateway.rows() if r["event_kind"] == "policy" and r["decision"] == "allow"]
        assert taken == [1, 1, 1, 2]
        assert [r for r in gateway.rows() if r["event_kind"] == "policy" and r["decision"] == "block"] == []
