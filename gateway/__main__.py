"""`python -m gateway --config gateway.toml`: checks everything, then serves until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import uvloop
from aiohttp import http_parser

from gateway.errors import AispmError, ConfigError
from gateway.ledger.opening import open_store
from gateway.listen import tls_context
from gateway.loading import Loader
from gateway.process import log_key, serve_all, serve_worker
from gateway.pulling import ensure_policy
from gateway.secrets import resolve_secret
from gateway.server import utc_now
from gateway.settings import GatewaySettings, load_settings


def print_log_key(settings: GatewaySettings) -> None:
    """What `aispm gateway verify-log --key` takes. Raises ConfigError when no signing key is set."""
    if settings.spool.signing_key is None:
        raise ConfigError("`spool.signing_key` is not set")
    sys.stdout.write(bytes(log_key(settings.spool.signing_key).verify_key).hex() + "\n")


def main(arguments: list[str] | None = None) -> int:
    """The exit code; see `gateway.errors`."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Inline policy gateway for model traffic.")
    parser.add_argument("--config", type=Path, default=Path("gateway.toml"), help="settings file")
    parser.add_argument("--check", action="store_true", help="verify settings and policy, then stop")
    parser.add_argument("--log-key", action="store_true", help="print the log's public key, then stop")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
            raise ConfigError("aiohttp lacks its compiled HTTP parser here; install it from a wheel")
        settings = load_settings(options.config)
        settings.spool.folder.mkdir(parents=True, exist_ok=True)

        loader = Loader(settings, utc_now)
        if options.log_key:
            print_log_key(settings)
        elif options.check:
            asyncio.run(ensure_policy(settings, loader, wait=False))
            loader.check()
            open_store(settings).close()
            tls_context(settings.listen)
            if settings.spool.signing_key is not None:
                log_key(settings.spool.signing_key)
            for route in settings.routes.values():
                if route.credential is not None:
                    resolve_secret(route.credential)
        elif options.worker is not None:
            uvloop.run(serve_worker(settings, loader, options.worker, options.port, supervised=True))
        elif settings.listen.workers > 1:
            asyncio.run(ensure_policy(settings, loader, wait=True))
            return asyncio.run(serve_all(settings, options.config))
        else:
            asyncio.run(ensure_policy(settings, loader, wait=True))
            uvloop.run(serve_worker(settings, loader, 0, settings.listen.port, supervised=False))
    except AispmError as e:
        sys.stderr.write(f"error: {e}\n")
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
