"""kill -9 under load: every request that got its answer has exactly one exchange row after the next boot."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import pairwise

import httpx


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


def test_no_answered_request_is_lost_or_doubled(gateway_factory, simulator):
    def reply(request, body):
        if body.get("stream"):
            return [simulator.chunk({"content": "Hello."}, "stop"), "data: [DONE]\n\n"]
        return simulator.completion()

    simulator.reply = reply
    answered: list[str] = []
    gateway = gateway_factory()
    for boot in range(3):
        gateway.start()
        stop = threading.Event()
        threads = [
            threading.Thread(target=load, args=(gateway, answered, stop, n % 2 == 0), daemon=True) for n in range(4)
        ]
        before = len(answered)
        for thread in threads:
            thread.start()
        while len(answered) < before + 60 + 17 * boot:
            assert any(t.is_alive() for t in threads)
        gateway.kill()
        stop.set()
        for thread in threads:
            thread.join(20)
    gateway.start()
    gateway.stop()
    rows = gateway.rows()
    exchanges = Counter(r["request_id"] for r in rows if r["event_kind"] == "exchange")
    assert len(answered) >= 180
    assert {n: exchanges[n] for n in answered} == dict.fromkeys(answered, 1)
    assert max(exchanges.values()) == 1
    assert len({r["event_id"] for r in rows}) == len(rows)
    for row, following in pairwise(rows):
        assert following["prev_hash"] == row["hash"]
    assert len({r["boot_id"] for r in rows}) == 4
