"""A gateway's processes: one worker with its log, ports and signals, or the parent of several."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import ssl
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from gateway.errors import ConfigError
from gateway.http_server import HttpServer
from gateway.ledger.leases import Ledger
from gateway.ledger.opening import open_store
from gateway.listen import bind, load_certificate, tls_context
from gateway.loading import Loader
from gateway.log import EventLog
from gateway.metrics import Metrics
from gateway.operations import Operations
from gateway.policy.trust import parse_key
from gateway.pulling import make_puller, tell_parent
from gateway.secrets import resolve_secret
from gateway.server import Gateway, utc_now
from gateway.settings import GatewaySettings
from gateway.spending import Spending
from gateway.wal import Wal
from gateway.workers import Workers, end_with_parent

SCHEMA = "aispm.gateway/1"


async def serve_worker(settings: GatewaySettings, loader: Loader, number: int, port: int, *, supervised: bool) -> None:
    """Serve until SIGTERM or SIGINT; running requests are finished, then the log is closed.

    `loader` reads and verifies the policy; it is called again on SIGHUP.

    `supervised`: one of several workers on a port, which also ends when its parent does.
    """
    metrics = Metrics()
    log = open_log(settings, number, metrics)
    try:
        gateway = Gateway(settings, loader, log, open_spending(settings, number))
    except BaseException:
        log.close()
        raise
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)
    tls = tls_context(settings.listen)
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    reloads: set[asyncio.Task[None]] = set()

    def reload_soon() -> None:
        task = asyncio.create_task(reload(settings, gateway, tls))
        reloads.add(task)  # the loop keeps no reference of its own
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload_soon)
    if supervised:
        end_with_parent(stop)
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(gateway.close)
        keeper = asyncio.create_task(log.keep(settings.spool.roll_seconds))
        closing.push_async_callback(_cancel, keeper)
        leases = asyncio.create_task(gateway.spending.ledger.keep())
        closing.push_async_callback(_cancel, leases)
        await gateway.start()
        ready: dict[str, object] = {"schema": SCHEMA, "pid": os.getpid()}
        limits = settings.limits
        where = bind(settings.listen.host, port, shared=supervised, client_read_s=limits.client_read_s)
        server = HttpServer(gateway.handle, gateway.handle_unreadable, limits.idle_s)
        ready["url"] = await server.start(where, tls)
        closing.push_async_callback(server.close, limits.shutdown_s)
        if settings.metrics is not None:
            first = settings.metrics.port
            where = bind("127.0.0.1", first + number if first else 0, shared=False)
            server = HttpServer(operations(gateway, log, metrics).handle)
            ready["metrics"] = await server.start(where)
            closing.push_async_callback(server.close, 1.0)
        _tune_collector()
        _say(ready)
        if settings.policy.url is not None and number == 0:
            puller = make_puller(settings, loader, gateway, tell_parent() if supervised else gateway.reload)
            closing.push_async_callback(puller.client.close)
            closing.push_async_callback(_cancel, asyncio.create_task(puller.run()))
        await stop.wait()
        gateway.end_listening()


def _tune_collector() -> None:
    """What lives until the end, such as patterns, is not looked through for garbage again and again.

    Nearly all of a request is freed by its reference count; what is left over is collected every 20,000 objects
    (some MiB) instead of every 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def open_log(settings: GatewaySettings, worker: int, metrics: Metrics) -> EventLog:
    """This boot's log. Raises ConfigError when another process writes it, VerificationError when it is damaged."""
    spool = settings.spool
    key = None if spool.signing_key is None else log_key(spool.signing_key)
    wal = Wal(
        spool.folder,
        settings.gateway_id,
        worker,
        uuid.uuid4().hex,
        spool.roll_bytes,
        spool.roll_seconds,
        None if key is None else lambda raw: bytes(key.sign(raw).signature),
    )
    return EventLog(wal, spool.audit, utc_now, metrics.observe)


def open_spending(settings: GatewaySettings, worker: int) -> Spending:
    """This boot's share of the ledger. Raises ConfigError or LedgerError."""
    holder = f"{settings.gateway_id}-{worker}-{uuid.uuid4().hex}"
    return Spending(Ledger(open_store(settings), holder, settings.ledger.lease_seconds, time.time), time.time)


def log_key(reference: str) -> SigningKey:
    """The key behind `spool.signing_key`. Raises ConfigError."""
    return SigningKey(parse_key(resolve_secret(reference), "spool.signing_key"))


def operations(gateway: Gateway, log: EventLog, metrics: Metrics) -> Operations:
    """The handler of the metrics port."""

    def faults() -> list[str]:
        fault = gateway.policy.fault()
        found = [] if fault is None else [f"policy {fault}"]
        return found if log.writable else [*found, "log not writable"]

    def gauges() -> dict[str, Any]:
        policy = gateway.policy.rules.policy
        return {
            "policy_version": policy.version,
            "segment_no": log.segment_no,
            "lost_events": log.lost,
            "budgets": gateway.spending.standings(policy),
        }

    return Operations(metrics, faults, gauges)


async def reload(settings: GatewaySettings, gateway: Gateway, tls: ssl.SSLContext | None) -> None:
    """SIGHUP: the policy and the certificate again; a certificate that is refused leaves the current one in force."""
    await gateway.reload()
    listen = settings.listen
    if tls is not None and listen.tls_cert is not None and listen.tls_key is not None:
        try:
            load_certificate(tls, listen.tls_cert, listen.tls_key)
        except ConfigError as e:
            logging.getLogger("gateway").error("certificate not taken over: %s", e)


async def serve_all(settings: GatewaySettings, config: Path) -> int:
    """Run `listen.workers` processes on one port; the exit code."""
    held = bind(settings.listen.host, settings.listen.port, shared=True)  # never listened on: only workers are
    port = held.getsockname()[1]

    def command(number: int) -> list[str]:
        worker = ["--worker", str(number), "--port", str(port)]
        return [sys.executable, "-m", "gateway", "--config", str(config), *worker]

    def announce(lines: list[dict[str, Any]]) -> None:
        ready = {"schema": SCHEMA, "pid": os.getpid(), "url": lines[0]["url"]}
        if settings.metrics is not None:
            ready["metrics"] = [line["metrics"] for line in lines]
        _say({**ready, "workers": [line["pid"] for line in lines]})

    with held:
        return await Workers(settings.listen.workers, command, settings.limits.shutdown_s).run(announce)


def _say(ready: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _report(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Name what failed in the background; its message may quote client text and is left out."""
    logging.getLogger("gateway").error("background failure: %s", type(context.get("exception")).__name__)
