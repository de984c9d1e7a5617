"""The estate as a whole: the command, its ports, keys, declaration and end."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import tasks.estate
from tasks.discovery.inventory import load_inventory
from tasks.estate.estate import Estate, EstateError
from tasks.estate.places import places
from tasks.estate.switches import SWITCHES
from tasks.estate.variants import all_on, hardened
from tasks.records import AssetKind
from tasks.settings import CONTENT_ROOT, load_settings


def command(home: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tasks.estate", "--home", str(home), *flags],
        cwd=CONTENT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == pid:
                found |= {int(entry.name)} | descendants(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads the process table")
def test_the_command_starts_everything_says_so_once_and_leaves_nothing(tmp_path: Path) -> None:
    process = command(tmp_path, "--off", "refuses_then_complies")
    assert process.stdin
    assert process.stdout
    line = process.stdout.readline()
    said: dict[str, Any] = json.loads(line)
    assert said["schema"] == "aispm.estate/1"
    assert set(said["services"]) == {"assistant", "agent", "mailbox", "mcp", "rag", "aws"}
    assert said["switches"] == sorted(all_on() - {"refuses_then_complies"})
    assert all(url.startswith("http://127.0.0.1:") for url in said["services"].values())
    assert load_settings(Path(said["settings"])).inventory == Path(said["inventory"])
    assert load_inventory(Path(said["inventory"])).assets
    key = Path(said["credentials"]["rag_retail"].removeprefix("file:")).read_text(encoding="utf-8").strip()
    models = httpx.get(f"{said['services']['rag']}/models", headers={"Authorization": f"Bearer {key}"})
    assert models.status_code == 200
    children = descendants(process.pid)
    assert len(children) >= 2
    process.stdin.close()
    assert process.stdout.read() == ""
    assert process.wait(30) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_signal_ends_the_command(tmp_path: Path) -> None:
    process = command(tmp_path, "--hardened")
    assert process.stdout
    process.stdout.readline()
    children = descendants(process.pid) if Path("/proc").exists() else set()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_wrong_switch_is_a_usage_error(tmp_path: Path) -> None:
    process = command(tmp_path, "--on", "no_such_weakness")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "no_such_weakness" in errors


def test_ports_and_keys_are_kept_and_private(tmp_path: Path) -> None:
    first, second = places(tmp_path), places(tmp_path)
    assert first.ports == second.ports
    assert first.keys == second.keys
    assert len(set(first.keys.values())) == len(first.keys)
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(key in repr(first) for key in first.keys.values())


def test_a_port_that_is_taken_is_replaced(tmp_path: Path, light: Callable[..., Estate]) -> None:
    running = light(hardened(), tmp_path)
    again = places(tmp_path)
    assert again.ports["assistant"] != running.places.ports["assistant"]


def test_a_failing_start_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("no such luck")

    monkeypatch.setattr("tasks.estate.estate.agent.build", broken)
    estate = Estate(tmp_path, hardened(), services=("assistant", "mcp", "agent"))
    with pytest.raises(EstateError, match="no such luck"):
        estate.start()
    with pytest.raises(httpx.ConnectError):
        httpx.get(estate.places.url("assistant", "/v1/models"))


def test_an_estate_can_be_awaited(tmp_path: Path) -> None:
    async def visit() -> int:
        async with Estate(tmp_path, hardened(), services=("assistant",)) as estate, httpx.AsyncClient() as client:
            assert set(estate.urls) == {"assistant"}
            return (await client.get(f"{estate.urls['assistant']}/models")).status_code

    assert asyncio.run(visit()) == 401


@pytest.mark.parametrize("gateway", [None, "http://127.0.0.1:8443"])
def test_the_declaration_covers_all_kinds_and_keeps_its_gaps(tmp_path: Path, gateway: str | None) -> None:
    from tasks.estate import inventory

    for variant in (all_on(), hardened()):
        inventory.write(places(tmp_path), variant, gateway)
        declared = load_inventory(tmp_path / "inventory.yaml")
        assert {a.kind for a in declared.assets} == set(AssetKind)
        assert 16 <= len(declared.assets) <= 22
        assert [a.id for a in declared.assets if a.owner is None] == ["app/advisor-desk", "data/contact-form"]
        assert {a.id for a in declared.assets if a.active and a.props.get("wire_format")} == {
            "llm/support", "agent/teller", "rag/knowledge", *(["llm/support-guarded"] if gateway else []),
        }  # fmt: skip
        text = (tmp_path / "inventory.yaml").read_text(encoding="utf-8")
        assert not any(key in text for key in places(tmp_path).keys.values())
        aws = load_settings(tmp_path / "aispm.toml").discovery.aws
        assert aws.enabled
        assert aws.endpoint_url == places(tmp_path).url("aws")
    if gateway:
        guarded = declared.by_id["llm/support-guarded"]
        assert guarded.url == "http://127.0.0.1:8443/v1"
        assert guarded.props["model"] == declared.by_id["llm/support"].props["model"]


def test_the_estate_knows_no_probe_and_no_judge() -> None:
    """Imports are read from the source; words of probe files have no way in but through them."""
    for path in Path(tasks.estate.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.startswith(("tasks.probing", "tasks.judging", "flows"))], path
        assert "probes/" not in path.read_text(encoding="utf-8"), path


def test_the_list_of_switches_is_printed(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tasks.estate", "--home", str(tmp_path), "--list"],
        cwd=CONTENT_ROOT, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == list(SWITCHES)
