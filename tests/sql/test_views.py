"""The views: they stand on an empty lake, keep their grain, and hand reports no floats."""

from __future__ import annotations

import re

import duckdb
import pytest
import yaml
from lake_double import create_views, empty_lake, view_files
from two_runs import two_runs

LAYERS = {"staging": "lake.", "intermediate": "stg_", "marts": "(stg_|int_)"}
FILES = view_files(*LAYERS)
NOT_EXACT = ("DOUBLE", "FLOAT", "HUGEINT", "DECIMAL")


@pytest.fixture(scope="module")
def filled() -> duckdb.DuckDBPyConnection:
    return two_runs()


@pytest.fixture(scope="module")
def empty() -> duckdb.DuckDBPyConnection:
    con = empty_lake()
    create_views(con)
    return con


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_empty_lake_gives_an_empty_view(empty: duckdb.DuckDBPyConnection, file) -> None:
    assert empty.execute(f'from "{file.stem}"').fetchall() == []


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_no_column_is_inexact(empty: duckdb.DuckDBPyConnection, file) -> None:
    """Reports are compared byte for byte: no floats, and no integer wider than 64 bits."""
    types = {row[0]: row[1] for row in empty.execute(f'describe "{file.stem}"').fetchall()}
    assert {name: kind for name, kind in types.items() if kind.startswith(NOT_EXACT)} == {}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_sidecar_states_grain_key_and_columns(filled: duckdb.DuckDBPyConnection, file) -> None:
    sidecar = yaml.safe_load(file.with_suffix(".yml").read_text())
    columns = [row[0] for row in filled.execute(f'describe "{file.stem}"').fetchall()]
    assert sidecar["view"] == file.stem
    assert file.read_text().startswith("-- One row per ")
    assert sidecar["grain"].startswith("One row per ")
    if "columns" in sidecar:
        assert list(sidecar["columns"]) == columns
    key = ", ".join(f'"{name}"' for name in sidecar["key"])
    repeated = filled.execute(f'select {key}, count(*) as n from "{file.stem}" group by all having n > 1').fetchall()  # noqa: S608 - names of our own files
    assert repeated == []


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_views_read_only_lower_layers(file) -> None:
    """Staging reads the lake, intermediate views staging or intermediates that sort before them, marts no marts."""
    layer = file.parent.name
    sql = re.sub(r"--[^\n]*", "", file.read_text())
    local = set(re.findall(r"(\w+)(?:\s*\([^)]*\))?\s+as\s+\(", sql))
    known = {f.stem for f in FILES}
    read = {name for name in re.findall(r"\b(?:from|join)\s+([a-z_][\w.]*)", sql) if name in known or "lake." in name}
    wrong = []
    for name in read - local:
        lower = re.match(LAYERS[layer], name) is not None
        earlier = layer == "intermediate" and name.startswith("int_") and name < file.stem
        if not (lower or earlier):
            wrong.append(name)
    assert wrong == []


@pytest.mark.parametrize("file", view_files("marts"), ids=lambda f: f.stem)
def test_marts_give_the_same_rows_whatever_the_threads(filled: duckdb.DuckDBPyConnection, file) -> None:
    answers = []
    for threads in (1, 4):
        filled.execute(f"set threads = {threads}")
        answers.append(filled.execute(f'from "{file.stem}" order by all').fetchall())
    assert answers[0] == answers[1]
