"""Writes requirements.txt: the gateway's part of the repository's hashed lock. Run it after the lock has changed.

python examples/gateway/requirements.py > examples/gateway/requirements.txt
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
DIRECT = ("aiohttp", "httpx", "hyperscan", "jsonschema-rs", "numpy", "orjson", "pynacl", "pyyaml", "uvloop")
THEIRS = (
    *("aiohappyeyeballs", "aiosignal", "anyio", "attrs", "certifi", "cffi", "frozenlist", "h11", "httpcore", "idna"),
    *("multidict", "propcache", "pycparser", "typing-extensions", "yarl"),
)
"""What the direct ones need."""


def gateway_lock(lock: str) -> str:
    """The blocks (pin and hashes) of the gateway's packages."""
    blocks = re.findall(r"^([a-z0-9-]+)(==.*(?:\n    .*)*)", lock, re.M)
    wanted = {*DIRECT, *THEIRS}
    kept = [name + rest for name, rest in blocks if name in wanted]
    if missing := wanted - {name for name, _ in blocks}:
        raise SystemExit(f"not in the lock: {', '.join(sorted(missing))}")
    return "# Written by requirements.py: pip install --require-hashes -r requirements.txt\n" + "\n".join(kept) + "\n"


if __name__ == "__main__":
    sys.stdout.write(gateway_lock(LOCK.read_text(encoding="utf-8")))
