"""Rules of the house that no other tool holds: names, placeholders, what the gateway may import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tasks.settings import CONTENT_ROOT as ROOT

GATEWAY_PACKAGES = {"aiohttp", "uvloop", "orjson", "nacl", "httpx", "yaml", "hyperscan", "numpy", "jsonschema_rs"} | {
    "multidict",  # aiohttp's own headers, URLs and way of trying addresses
    "yarl",
    "aiohappyeyeballs",
}
GATEWAY_EXTRAS = {"redis", "botocore"}
FORBIDDEN_NAMES = {"utils", "common", "helpers", "lib", "core", "misc"}


def tracked(pattern: str) -> list[Path]:
    rings = ("flows", "tasks", "gateway")
    return [path for ring in rings for path in sorted((ROOT / ring).rglob(pattern)) if "__pycache__" not in path.parts]


def test_the_rings_hold() -> None:
    """flows > tasks > gateway, and the contracts beside it (pyproject.toml)."""
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for types and inside functions count too."""
    graph = grimp.build_graph("flows", "tasks", "gateway", cache_dir=None)
    order = TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules})
    order.prepare()  # raises CycleError, which names the circle


def test_no_module_is_a_drawer() -> None:
    assert not [str(path) for path in tracked("*.py") if path.stem in FORBIDDEN_NAMES]


def test_no_placeholders() -> None:
    """Unfinished work is an issue, not a comment."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|pragma: no cover")
    found = [
        f"{path}:{number}"
        for path in [*tracked("*.py"), *tracked("*.sql")]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def test_the_gateway_imports_only_its_own_packages() -> None:
    """`gateway/` is copied into networks where nothing else is installed. What an extra brings is imported only where
    it is used, inside functions."""
    foreign = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            tops = {name.partition(".")[0] for name in names}
            extra = GATEWAY_EXTRAS if getattr(node, "col_offset", 0) else set()
            foreign |= tops - set(sys.stdlib_module_names) - GATEWAY_PACKAGES - extra - {"gateway"}
    assert foreign == set()


def test_the_table_of_contents_fits_on_a_screen() -> None:
    assert len((ROOT / "flows" / "posture.py").read_text(encoding="utf-8").splitlines()) <= 50


def test_the_lock_is_hashed_and_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^[a-z0-9][\w.-]*==", text, re.M)
    assert len(pins) > 100
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE"]
)
def test_documents_name_files_that_exist(name: str) -> None:
    """Paths in backticks of this repository's folders are there."""
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:flows|tasks|gateway|sql|probes|mappings|tests|docs)/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert "@@" not in text


def test_readme_commands_exist() -> None:
    """Every `aispm …` command of the README is one that the command line has."""
    from typer.main import get_command

    from flows.cli import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]  # a click Group
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```\n(.*?)```", text, re.S) + re.findall(r"`([^`\n]+)`", text)
    used = set(re.findall(r"(?:^|[ /])aispm(?: --(?:config|home) \S+)* ([a-z]+)", "\n".join(code), re.M))
    assert {"init", "doctor", "run", "sql", "verify"} <= used
    assert used <= known
