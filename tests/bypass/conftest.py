"""The suite's modules, which the bench uses too, and the ground they run on."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


def load(name: str, path: Path) -> ModuleType:
    """A module by its file: the tests' folders are no packages."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


for part in ("carriers", "disguises", "ground", "suite"):
    load(part, HERE / f"{part}.py")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One gateway for all families."""
    processes = load("gateway_processes", HERE.parent / "gateway" / "conftest.py")
    made = sys.modules["ground"].Ground(tmp_path_factory.mktemp("ground"), processes)
    yield made
    made.close()
