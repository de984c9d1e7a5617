"""The examples of operation hold: settings that load, packages that are the lock's, options that exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "gateway"


def test_the_settings_load():
    settings = load_settings(FOLDER / "gateway.toml")
    assert (settings.listen.workers, settings.metrics.port, settings.spool.audit) == (2, 9464, "written")


def test_the_packages_are_the_locks():
    written = runpy.run_path(str(FOLDER / "requirements.py"))
    assert (FOLDER / "requirements.txt").read_text() == written["gateway_lock"](
        (ROOT / "requirements.lock").read_text()
    )


def test_the_packages_cover_what_is_imported():
    named = {"nacl": "pynacl", "yaml": "pyyaml", "jsonschema_rs": "jsonschema-rs"}
    direct = runpy.run_path(str(FOLDER / "requirements.py"))["DIRECT"]
    text = "\n".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    used = set(
        re.findall(
            r"^(?:import|from) (aiohttp|hyperscan|jsonschema_rs|numpy|orjson|nacl|yaml|uvloop|httpx)", text, re.M
        )
    )
    assert {named.get(name, name) for name in used} <= set(direct)


def test_what_the_files_name_exists():
    unit = (FOLDER / "aispm-gateway.service").read_text()
    assert len(re.findall(r"-m gateway --config \S+/gateway\.toml", unit)) == 2
    assert "MAINPID" in unit
    container = (FOLDER / "Containerfile").read_text()
    for copied in re.findall(r"^COPY ([^-]\S*) ", container, re.M):
        assert (ROOT / copied).exists()
    assert "/" not in re.findall(r"^ARG BASE=(.*)", container, re.M)[0]
