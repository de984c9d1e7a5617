"""What the flow tests share: homes and targets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not put a test's neighbours on the path

from flow_homes import Home, make_home
from small_target import SmallTarget


@pytest.fixture
def target() -> Iterator[Callable[..., SmallTarget]]:
    """`target(name=manner, …)` starts a service."""
    started: list[SmallTarget] = []

    def start(**manners: str) -> SmallTarget:
        started.append(SmallTarget(**manners))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def home(tmp_path: Path) -> Callable[..., Home]:
    """`home([asset, …], folder="name", families=…, **probing)` makes a home."""

    def make(assets: list[str], folder: str = "one", **settings: Any) -> Home:
        return make_home(tmp_path / folder, assets, **settings)

    return make
