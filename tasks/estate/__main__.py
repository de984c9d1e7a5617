"""`python -m tasks.estate --home DIR`: run the demo estate until standard input closes or SIGTERM arrives."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from tasks.errors import AispmError
from tasks.estate.estate import Estate
from tasks.estate.switches import SWITCHES
from tasks.estate.variants import adjust, all_on, hardened


def main(argv: list[str] | None = None) -> int:
    """Start everything, print one JSON line, serve, stop everything. Exit code 2 on a wrong switch."""
    parser = argparse.ArgumentParser(prog="python -m tasks.estate", description="Run the demo estate on loopback.")
    parser.add_argument("--home", type=Path, help="folder for keys, ports, inventory and settings")
    parser.add_argument("--gateway-url", help="address of a prompt gateway in front of the assistant")
    parser.add_argument("--on", nargs="+", action="extend", default=[], metavar="SWITCH", help="weaknesses to turn on")
    parser.add_argument(
        "--off", nargs="+", action="extend", default=[], metavar="SWITCH", help="weaknesses to turn off"
    )
    parser.add_argument("--hardened", action="store_true", help="start from no weakness instead of all")
    parser.add_argument("--list", action="store_true", help="print the switches and leave")
    options = parser.parse_args(argv)
    if options.list:
        for switch in SWITCHES.values():
            sys.stdout.write(f"{switch.name}\t{','.join(switch.services)}\t{switch.weakness}\n")
        return 0
    if options.home is None:
        parser.error("--home is needed: where keys, ports, inventory and settings go")
    try:
        variant = adjust(hardened() if options.hardened else all_on(), options.on, options.off)
    except ValueError as e:
        parser.error(str(e))
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    estate = Estate(options.home, variant, gateway_url=options.gateway_url)
    try:
        estate.start()
        sys.stdout.write(json.dumps(estate.announcement()) + "\n")
        sys.stdout.flush()
        threading.Thread(target=_until_input_closes, args=(over,), daemon=True).start()
        over.wait()
    except AispmError as e:
        sys.stderr.write(f"{e}\n")
        return e.exit_code
    finally:
        estate.stop()
    return 0


def _until_input_closes(over: threading.Event) -> None:
    # Not through sys.stdin: its lock, held while waiting, would abort the interpreter at the end.
    while os.read(0, 4096):
        pass
    over.set()


if __name__ == "__main__":
    raise SystemExit(main())
