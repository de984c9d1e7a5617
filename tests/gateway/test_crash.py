"""kill -9 under load: every request that got its answer has exactly one exchange row in the lake afterwards.

kill -9 is not a power cut: what was written but not yet on the disk survives here (see `test_log.py` for `strict`).
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from flows.follow import ingest_once
from gateway.verify_log import verify_log
from tasks.lake import Lake
from tasks.settings import GatewaySettings, Settings

CLIENTS = 4


def load(gateway, answered, stop, stream):
    headers = {"Authorization": f"Bearer {gateway.agent_key}"}
    with httpx.Client(timeout=10) as client:
        while not stop.is_set():
            try:
                response = client.post(
                    gateway.url + "/v1/chat/completions", json=gateway.chat("hello", stream=stream), headers=headers
                )
            except httpx.HTTPError:
                return
            if not stream or response.text.endswith("data: [DONE]\n\n"):
                answered.append(response.headers["x-request-id"])


def run_until_killed(gateway, answered, more):
    """Serve `more` answers, then die in the middle of others."""
    gateway.start()
    stop = threading.Event()
    threads = [
        threading.Thread(target=load, args=(gateway, answered, stop, n % 2 == 0), daemon=True) for n in range(CLIENTS)
    ]
    enough = len(answered) + more
    for thread in threads:
        thread.start()
    while len(answered) < enough:
        assert any(t.is_alive() for t in threads)
        time.sleep(0.001)
    gateway.kill()
    stop.set()
    for thread in threads:
        thread.join(20)


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.full)])
def test_no_answered_request_is_lost_or_doubled(gateway_factory, simulator, tmp_path, kills):
    def reply(request, body):
        if body.get("stream"):
            return [simulator.chunk({"content": "Hello."}, "stop"), "data: [DONE]\n\n"]
        return simulator.completion()

    simulator.reply = reply
    seed = random.randrange(1 << 32)
    print("seed", seed)
    when = random.Random(seed)
    gateway = gateway_factory()
    config: Path = gateway.folder / "gateway.toml"
    # Segments that close all the time: kills then also fall between rename, head and the next segment.
    config.write_text(config.read_text().replace("roll_seconds = 3600", "roll_seconds = 0.1\nroll_bytes = 30000"))
    settings = Settings(home=tmp_path / "home", gateway=GatewaySettings(spool=str(gateway.spool)))
    answered: list[str] = []
    for boot in range(kills):
        run_until_killed(gateway, answered, when.randrange(40, 120))
        if boot % 7 == 1:
            ingest_once(settings)  # what is closed, while the rest of the log is still torn
    gateway.start()
    gateway.stop()
    assert verify_log(gateway.spool).problems == []
    assert ingest_once(settings).troubles == ()
    assert ingest_once(settings).events == 0
    rows = Lake(settings.lake).query("select event_id, event_kind, request_id, boot_id from lake.gateway_events")
    exchanges = Counter(r["request_id"] for r in rows if r["event_kind"] == "exchange")
    assert len(answered) >= 40 * kills
    assert {n: exchanges[n] for n in answered} == dict.fromkeys(answered, 1)
    assert max(exchanges.values()) == 1
    assert len({r["event_id"] for r in rows}) == len(rows)
    assert len({r["boot_id"] for r in rows}) == kills + 1
