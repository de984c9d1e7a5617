"""When the gateway itself fails, nothing passes: no filter, no log, no answer."""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from gateway.http_server import HttpServer
from gateway.ledger.leases import Ledger
from gateway.ledger.memory import MemoryStore
from gateway.listen import bind
from gateway.loading import Loader
from gateway.log import EventLog
from gateway.reasons import Refusal, reasons
from gateway.server import Gateway, utc_now
from gateway.settings import load_settings
from gateway.spending import Spending
from gateway.wal import Wal, closed_segments, read_segment


@pytest.fixture
def inside(gateway_factory, simulator):
    """Run `steps(gateway, wal, post)` against a gateway in this process."""
    process = gateway_factory()
    settings = load_settings(process.folder / "gateway.toml")
    settings.spool.folder.mkdir()

    def run(steps, audit="written", **options):
        async def main():
            wal = Wal(settings.spool.folder, settings.gateway_id, 0, "boot", 1 << 20, 10.0)
            log = EventLog(wal, audit, lambda: datetime.now(UTC))
            spending = Spending(Ledger(options.pop("store", MemoryStore()), "w", 6.0, time.time), time.time)
            gateway = Gateway(settings, Loader(settings, utc_now), log, spending, **options)
            await gateway.start()
            server = HttpServer(gateway.handle)
            url = await server.start(bind("127.0.0.1", 0, shared=False))
            async with httpx.AsyncClient() as client:

                async def post(path=None, **more):
                    if path is not None:
                        return await client.get(url + path)
                    headers = {"Authorization": f"Bearer {process.agent_key}"}
                    return await client.post(
                        url + "/v1/chat/completions", json={**process.chat(), **more}, headers=headers
                    )

                await steps(gateway, wal, post)
            await server.close(1.0)
            await gateway.close()

        asyncio.run(main())
        return process

    return run


def test_a_failing_filter_answers_500_and_forwards_nothing(inside, simulator, monkeypatch):
    def broken(*_):
        raise ValueError("text of the client")

    monkeypatch.setattr("gateway.filter.Inspection.scan", broken)

    async def steps(gateway, wal, post):
        response = await post()
        assert (response.status_code, response.json()["error"]["code"]) == (500, "SYSTEM.FILTER")

    inside(steps)
    assert simulator.requests == []


def test_an_expired_policy_stops_everything(inside, simulator):
    clock = [datetime.now(UTC)]

    async def steps(gateway, wal, post):
        assert (await post()).status_code == 200
        clock[0] += timedelta(days=2)
        response = await post()
        assert (response.status_code, response.json()["error"]["code"]) == (503, "POLICY.SIGNATURE:expired")
        health = await post(path="/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "policy expired")

    inside(steps, now=lambda: clock[0])
    assert len(simulator.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_log_that_cannot_be_written_answers_503_and_forwards_nothing(inside, simulator, monkeypatch, stream):
    async def steps(gateway, wal, post):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(wal, "append", full)
        response = await post(stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "SYSTEM.BACKEND:log")
        monkeypatch.undo()
        assert (await post()).status_code == 200

    inside(steps)
    assert len(simulator.requests) == 1


def test_a_log_that_fails_at_the_end_withholds_the_answer(inside, simulator, monkeypatch):
    async def steps(gateway, wal, post):
        append, calls = wal.append, []

        def second_fails(*args):
            calls.append(1)
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            append(*args)

        monkeypatch.setattr(wal, "append", second_fails)
        response = await post()
        assert response.status_code == 503
        assert "Hello" not in response.text

    inside(steps)


@pytest.mark.parametrize("stream", [False, True])
def test_with_strict_audit_nothing_is_answered_that_did_not_reach_the_disk(inside, simulator, monkeypatch, stream):
    async def steps(gateway, wal, post):
        assert (await post(stream=stream)).status_code == 200

        def fails(fd):
            os.close(fd)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("gateway.log._sync_and_close", fails)
        for _ in range(2):
            response = await post(stream=stream)
            assert (response.status_code, response.json()["error"]["code"]) == (503, "SYSTEM.BACKEND:log")

    simulator.reply = lambda _, body: (
        [simulator.chunk({"content": "Hello."}, "stop"), "data: [DONE]\n\n"]
        if body.get("stream")
        else simulator.completion()
    )
    inside(steps, audit="strict")
    assert len(simulator.requests) == 1


def test_with_audit_available_answers_go_on_and_the_gap_is_told(inside, monkeypatch):
    async def steps(gateway, wal, post):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(wal, "append", full)
        assert (await post()).status_code == 200
        monkeypatch.undo()
        assert (await post()).status_code == 200

    spool = inside(steps, audit="available").spool
    rows = [row for segment in closed_segments(spool) for row in read_segment(segment)]
    assert [r["lost_events"] for r in rows if r["event_kind"] == "gap"] == [2]
    assert len([r for r in rows if r["event_kind"] == "exchange"]) == 1


def test_a_refusal_knows_only_listed_codes_and_details():
    assert Refusal("WIRE.LIMIT", "slow").status == 408
    with pytest.raises(KeyError):
        Refusal("WIRE.LIMIT", "anything")
    with pytest.raises(KeyError):
        Refusal("NEW.CODE")
    assert all(400 <= s < 600 for r in reasons().values() for s in (r.status, *r.details.values()))
    assert json.dumps([r.says for r in reasons().values()])
