"""A heavy service of the estate in a process of its own: `rag` (a vector engine) or `aws` (moto and its router).

Started by the estate with its settings as one JSON line on standard input; prints `ready`; ends when its input closes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from aiohttp import web


async def serve(app: web.Application, port: int, stop: asyncio.Event) -> None:
    """Serve `app` on loopback, say so, and end with `stop`."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()


def application(what: str, settings: dict[str, Any]) -> web.Application:
    """The service's application with all it needs running."""
    variant = frozenset(settings["switches"])
    if what == "rag":
        from tasks.estate import rag

        return rag.build(variant, settings["keys"], Path(settings["home"]))
    from moto.server import ThreadedMotoServer

    from tasks.estate import aws

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto_url = f"http://127.0.0.1:{settings['moto_port']}"
    ThreadedMotoServer("127.0.0.1", settings["moto_port"], verbose=False).start()
    aws.seed(moto_url, variant)
    return aws.build(variant, moto_url, frozenset(settings["denied"]))


async def main(what: str) -> None:
    settings = json.loads(sys.stdin.readline())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def until_input_closes() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=until_input_closes, daemon=True).start()
    await serve(application(what, settings), settings["port"], stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
