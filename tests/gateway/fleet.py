"""Many gateway processes under one policy server, and the clock from a publication to the last refusal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 4
"""Processes that start together: more would only wait for the two cores of a small machine."""
LOOK_SECONDS = 0.05
"""Between two questions to the same gateway, and so the grain of a measurement."""


class Fleet:
    """`size` gateways named gw-0, gw-1, …; `conftest` is the module with `PolicyFolder` and `GatewayProcess`."""

    def __init__(self, folder: Path, conftest: Any, size: int) -> None:
        self.folder, self.conftest, self.names = folder, conftest, [f"gw-{n}" for n in range(size)]
        self.gateways: dict[str, Any] = {}
        (folder / "published").mkdir()
        self.policy = conftest.PolicyFolder(folder / "published")

    def start(self) -> None:
        """The server, then the gateways, a few at a time."""
        self.publish()
        self.errors = (self.folder / "server.txt").open("wb")
        command = [sys.executable, "-m", "gateway.policy_server", "--folder", str(self.folder / "published")]
        self.server = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, stderr=self.errors, cwd=ROOT)
        assert self.server.stdout is not None
        self.url = json.loads(self.server.stdout.readline())["url"]
        for first in range(0, len(self.names), AT_ONCE):
            group = {name: self._make(name) for name in self.names[first : first + AT_ONCE]}
            for name, gateway in group.items():
                gateway.launch()
                self.gateways[name] = gateway
            for gateway in group.values():
                gateway.wait_ready()

    def _make(self, name: str) -> Any:
        home = self.folder / name
        home.mkdir()
        (home / "root.1.json").write_bytes((self.folder / "published" / "root.1.json").read_bytes())
        (home / "root.1.json.sig").write_bytes((self.folder / "published" / "root.1.json.sig").read_bytes())
        gateway = self.conftest.GatewayProcess(home, "http://127.0.0.1:9/v1")
        config = home / "gateway.toml"
        text = config.read_text().replace('gateway_id = "gw-test"', f'gateway_id = "{name}"')
        config.write_text(text.replace('file = "policy.json"', f'url = "{self.url}"'))
        return gateway

    def publish(self, **changes: Any) -> None:
        """The next version, for all of them."""
        self.policy.publish(**{"audience": self.names, **changes})

    def revoke(self) -> dict[str, float]:
        """Revoke the agent; gateway -> seconds from the publication until it refused the key."""
        key_hash = self.conftest.hash_agent_key(self.policy.hash_key, self.conftest.AGENT_KEY)
        return self._until_all(
            lambda: self.publish(agents=[{"id": "support", "key_hash": key_hash, "revoked": True}], tools={}), 401
        )

    def restore(self) -> dict[str, float]:
        """Let the agent in again; as `revoke`."""
        return self._until_all(self.publish, 400)

    def replace_policy_key(self) -> dict[str, float]:
        """Revoke the agent by a policy of a new epoch, under a new root, signed by a new key; as `revoke`."""
        self.policy.rotate()
        return self.revoke()

    def _until_all(self, change: Callable[[], None], status: int) -> dict[str, float]:
        """An empty body is enough: a known agent gets 400 for it, an unknown one 401 before it is read."""
        headers = {"Authorization": f"Bearer {self.conftest.AGENT_KEY}"}
        waiting = dict(self.gateways)
        took: dict[str, float] = {}
        with httpx.Client(trust_env=False, headers=headers, timeout=30) as client:
            began = time.perf_counter()
            change()
            while waiting:
                for name, gateway in list(waiting.items()):
                    answer = client.post(f"{gateway.url}/v1/chat/completions", json={})
                    if answer.status_code == status:
                        took[name] = time.perf_counter() - began
                        del waiting[name]
                if time.perf_counter() - began > 120:
                    raise AssertionError(f"{sorted(waiting)} did not follow")
                time.sleep(LOOK_SECONDS)
        return took

    def status(self) -> dict[str, Any]:
        """What the server was told."""
        answer: dict[str, Any] = httpx.get(f"{self.url}/status", trust_env=False).json()
        return answer

    def stop(self) -> None:
        """All of them; also after a start that failed half-way."""
        for gateway in self.gateways.values():
            gateway.stop()
        if hasattr(self, "server"):
            self.server.terminate()
            self.server.wait(20)
            assert self.server.stdout is not None
            self.server.stdout.close()
        if hasattr(self, "errors"):
            self.errors.close()
