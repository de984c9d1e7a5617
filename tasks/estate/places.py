"""Where the services of an estate listen, and with which keys; kept in its home for the next start."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path

SERVICES = ("assistant", "mcp", "agent", "rag", "aws")
"""Everything an estate can run, in the order of starting."""
KEYS = ("assistant", "agent", "mcp", "rag_retail", "rag_private_banking", "rag_corporate", "gateway")
"""Keys made in the home; `gateway` is the mobile app's key at the prompt gateway."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the services of one home listen and their keys."""

    home: Path
    ports: dict[str, int]
    keys: dict[str, str] = field(repr=False)

    def url(self, service: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    def credential(self, key: str) -> str:
        """Reference to a key's file, as it stands in an inventory."""
        return f"file:{self.home / 'keys' / (key + '.key')}"


def places(home: Path) -> Places:
    """Ports and keys of `home`, made on the first run and kept for the next; a port that is taken is replaced."""
    home = home.resolve()
    (home / "keys").mkdir(parents=True, exist_ok=True)
    (home / "keys").chmod(0o700)
    keys = {name: _key(home / "keys" / f"{name}.key") for name in KEYS}
    record = home / "estate.json"
    before: dict[str, int] = {}
    if record.exists():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            before = {str(k): int(v) for k, v in json.loads(record.read_text(encoding="utf-8"))["ports"].items()}
    ports: dict[str, int] = {}
    for service in (*SERVICES, "moto"):
        port = before.get(service, 0)
        ports[service] = port if port and port not in ports.values() and _free(port) else _new_port(set(ports.values()))
    record.write_text(json.dumps({"schema": "aispm.estate_places/1", "ports": ports}, indent=1), encoding="utf-8")
    return Places(home, ports, keys)


def _key(path: Path) -> str:
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    key = f"nimbus-{secrets.token_urlsafe(24)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(key + "\n")
    return key


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _new_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
