"""`python -m gateway --config gateway.toml`: checks everything, then serves until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import uuid
from pathlib import Path

import uvloop
from aiohttp import http_parser

from gateway.engine import load_patterns
from gateway.errors import AispmError, ConfigError
from gateway.filter import RuleSet
from gateway.policy.files import load_policy, read_public_keys
from gateway.secrets import resolve_secret
from gateway.server import Gateway, serve, utc_now
from gateway.settings import GatewaySettings, load_settings
from gateway.wal import Wal

SCHEMA = "aispm.gateway/1"


def load_rules(settings: GatewaySettings) -> RuleSet:
    """The policy in force, joined with the patterns. Raises ConfigError or VerificationError."""
    patterns = load_patterns()
    policy = load_policy(
        settings.policy.file,
        read_public_keys(settings.policy.public_keys),
        settings.gateway_id,
        settings.spool.folder / f"{settings.gateway_id}.policy-state.json",
        utc_now(),
    )
    if unknown := sorted(set(policy.rules) - {p.id for p in patterns}):
        # A rule that cannot be enforced must not look as if it were.
        raise ConfigError(f"the policy has rules for patterns that this gateway lacks: {', '.join(unknown)}")
    return RuleSet.build(policy, patterns)


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT; running requests are finished, then the log is closed."""
    spool = settings.spool
    wal = Wal(spool.folder, settings.gateway_id, 0, uuid.uuid4().hex, spool.roll_bytes, spool.roll_seconds)
    try:
        gateway = Gateway(settings, lambda: load_rules(settings), wal)
    except BaseException:
        wal.close()
        raise
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, gateway.reload)
    loop.set_exception_handler(_report)
    keeper = None
    runner = None
    try:
        await gateway.start()
        runner, url = await serve(gateway, settings.listen.host, settings.listen.port, settings.limits.shutdown_s)
        keeper = asyncio.create_task(gateway.keep_log())
        ready = {"schema": SCHEMA, "url": url, "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        if runner is not None:
            await runner.cleanup()
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        await gateway.close()


def _report(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Name what failed in the background; its message may quote client text and is left out."""
    logging.getLogger("gateway").error("background failure: %s", type(context.get("exception")).__name__)


def main(arguments: list[str] | None = None) -> int:
    """The exit code; see `gateway.errors`."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Inline policy gateway for model traffic.")
    parser.add_argument("--config", type=Path, default=Path("gateway.toml"), help="settings file")
    parser.add_argument("--check", action="store_true", help="verify settings and policy, then stop")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
            raise ConfigError("aiohttp lacks its compiled HTTP parser here; install it from a wheel")
        settings = load_settings(options.config)
        settings.spool.folder.mkdir(parents=True, exist_ok=True)
        if options.check:
            load_rules(settings)
            for route in settings.routes.values():
                if route.credential is not None:
                    resolve_secret(route.credential)
        else:
            uvloop.run(run(settings))
    except AispmError as e:
        sys.stderr.write(f"error: {e}\n")
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
