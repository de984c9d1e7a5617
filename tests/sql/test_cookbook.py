"""Every cookbook query says what it answers, reads marts only, and shows its real output."""

from __future__ import annotations

import re

import duckdb
import pytest
from cookbook_example import COOKBOOK, with_example
from lake_double import create_views, empty_lake, view_files
from two_runs import two_runs

QUERIES = sorted(COOKBOOK.glob("*.sql"))
MARTS = {file.stem for file in view_files("marts")}


@pytest.fixture(scope="module")
def lake() -> duckdb.DuckDBPyConnection:
    return two_runs()


@pytest.fixture(scope="module")
def empty() -> duckdb.DuckDBPyConnection:
    con = empty_lake()
    create_views(con)
    return con


@pytest.mark.parametrize("file", QUERIES, ids=lambda f: f.stem)
def test_example_is_the_real_output(lake: duckdb.DuckDBPyConnection, file) -> None:
    """When this fails on purpose: `python tests/sql/cookbook_example.py`, then read the difference."""
    assert file.read_text() == with_example(lake, file)


@pytest.mark.parametrize("file", QUERIES, ids=lambda f: f.stem)
def test_head_names_question_and_tables(file) -> None:
    head = re.match(r"-- Question: (.+\S)\n-- Tables: (.+)\n-- Example:\n--   ", file.read_text())
    assert head is not None
    tables = set(head[2].split(", "))
    read = set(re.findall(r"\b(?:from|join)\s+([a-z_]+)", re.sub(r"--.*", "", file.read_text())))
    assert tables <= MARTS
    assert tables == read & MARTS


@pytest.mark.parametrize("file", QUERIES, ids=lambda f: f.stem)
def test_query_runs_on_an_empty_lake(empty: duckdb.DuckDBPyConnection, file) -> None:
    assert empty.execute(file.read_text()).fetchall() == []
