"""The examples of operation hold: settings that load, packages that are the lock's, options that exist."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

from gateway.filter import RuleSet
from gateway.pattern_files import load_patterns
from gateway.policy.bundle import verify_bundle
from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "gateway"
OPTIONAL = {"click", "rich", "pygments", "markdown-it-py", "mdurl"}
"""Of httpx's own command line, which it imports where it can."""


def test_the_settings_load():
    settings = load_settings(FOLDER / "gateway.toml")
    assert (settings.listen.workers, settings.metrics.port, settings.spool.audit) == (2, 9464, "written")
    assert {route.api for route in settings.routes.values()} == {"openai", "anthropic", "mcp"}


def test_the_packages_are_the_locks():
    written = runpy.run_path(str(FOLDER / "requirements.py"))
    assert (FOLDER / "requirements.txt").read_text() == written["gateway_lock"](
        (ROOT / "requirements.lock").read_text()
    )


def test_the_gateway_imports_nothing_but_its_packages():
    """All modules, in a process of their own: what is loaded is the standard library, or in requirements.txt."""
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import pkgutil, gateway, importlib.metadata as metadata\n"
        "for found in pkgutil.walk_packages(gateway.__path__, 'gateway.'): __import__(found.name)\n"
        "owners = metadata.packages_distributions()\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "tops -= {'gateway', *sys.stdlib_module_names}\n"
        "print(*{owner.lower().replace('_', '-') for top in tops for owner in owners.get(top, ())})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^([a-z0-9-]+)==", (FOLDER / "requirements.txt").read_text(), re.M)
    assert "hyperscan" in done.stdout.split()
    assert set(done.stdout.split()) - set(listed) - OPTIONAL == set()


def readme_blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / "gateway" / "README.md").read_text(), re.M | re.S)


def test_the_readmes_settings_load(tmp_path):
    """Also with everything that is commented out there, as far as it goes together."""
    (block,) = readme_blocks("toml")
    path = tmp_path / "gateway.toml"
    path.write_text(block)
    assert load_settings(path).routes["default"].api == "openai"
    block = block.replace('file = "policy.json"', 'url = "https://policy.example"')
    more = re.sub(r"^# (?!file = |url = )(\[?[a-z_]+[\] ])", r"\1", block, flags=re.M)
    path.write_text(more)
    settings = load_settings(path)
    assert (settings.metrics.port, settings.ledger.kind, settings.listen.workers) == (9464, "sqlite", 2)


def test_the_readmes_policies_are_accepted(policy):
    """Each section as it stands there, composed, signed and verified."""
    sections = {}
    for block in readme_blocks("json"):
        sections |= json.loads(block if block.lstrip().startswith("{") else f"{{{block}}}")
    for block in readme_blocks("python"):
        exec(block, {}, sections)  # noqa: S102 - our own text
    assert sections.keys() >= {"tools", "tool_chains", "custom_patterns", "budgets", "rates", "prices", "rules"}
    agents = [{**agent, "key_hash": "0" * 64} for agent in sections.pop("agents")]
    sections.pop("hash_key")
    policy.publish(**sections, agents=agents)
    raw, signature = ((policy.folder / name).read_bytes() for name in ("policy.json", "policy.json.sig"))
    verified = verify_bundle(raw, signature, [policy.keys.public])
    assert RuleSet.build(verified, load_patterns()).policy.version == policy.version


def test_what_the_files_name_exists():
    unit = (FOLDER / "aispm-gateway.service").read_text()
    assert len(re.findall(r"-m gateway --config \S+/gateway\.toml", unit)) == 2
    assert "MAINPID" in unit
    container = (FOLDER / "Containerfile").read_text()
    for copied in re.findall(r"^COPY ([^-]\S*) ", container, re.M):
        assert (ROOT / copied).exists()
    assert "/" not in re.findall(r"^ARG BASE=(.*)", container, re.M)[0]
