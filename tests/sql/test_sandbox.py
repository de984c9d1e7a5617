"""The sandbox: analysts get their rows; hostile SQL reads nothing outside, writes nothing and always ends.

The time a payload may take is bounded by the sandbox's own limit; a payload that outlives it fails by pytest's timeout.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from cookbook_example import COOKBOOK
from lake_double import view_files
from two_runs import two_runs

from tasks.errors import ConfigError, IncompleteError
from tasks.sandbox import build_sandbox, run_query

MARK = "outside-content-3f1c"


@pytest.fixture(scope="module")
def lake() -> duckdb.DuckDBPyConnection:
    return two_runs()


@pytest.fixture(scope="module")
def home(lake: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`outside/` holds what no query may see or change; the published database lies beside it."""
    root = tmp_path_factory.mktemp("home")
    outside = root / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text(f"a\n{MARK}\n")
    (outside / "secret.json").write_text(f'{{"a": "{MARK}"}}')
    con = duckdb.connect(str(outside / "other.duckdb"))
    con.execute("create table t as select ? as a", [MARK])
    con.close()
    (outside / "library.duckdb_extension").write_bytes(b"\x7fELF" + MARK.encode())
    build_sandbox(lake, root / "published" / "evidence.duckdb")
    return root


@pytest.fixture
def database(home: Path) -> Path:
    return home / "published" / "evidence.duckdb"


def state(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


HOSTILE = [
    # reading files
    "select * from read_text('{outside}/secret.csv')",
    "select * from read_blob('{outside}/secret.csv')",
    "select * from read_csv('{outside}/secret.csv')",
    "select * from read_csv_auto('{outside}/secret.csv')",
    "select * from read_json('{outside}/secret.json')",
    "select * from read_json_objects('{outside}/secret.json')",
    "select * from read_ndjson('{outside}/secret.json')",
    "select * from read_parquet('{outside}/secret.parquet')",
    "select * from parquet_metadata('{outside}/secret.parquet')",
    "select * from sniff_csv('{outside}/secret.csv')",
    "select * from glob('{outside}/*')",
    "select * from glob('/etc/*')",
    "from '{outside}/secret.csv'",
    "select * from '{outside}/secret.json'",
    "from '/proc/self/environ'",
    "select * from read_text('/proc/self/environ')",
    "select * from read_text('../../outside/secret.csv')",
    "select * from read_csv('/dev/stdin')",
    "select * from read_text('file://{outside}/secret.csv')",
    "with x as (select * from read_text('{outside}/secret.csv')) select * from x",
    "select (select content from read_text('{outside}/secret.csv'))",
    "describe select * from read_csv('{outside}/secret.csv')",
    "summarize select * from read_csv('{outside}/secret.csv')",
    "explain select * from read_csv('{outside}/secret.csv')",
    "explain analyze select * from read_text('{outside}/secret.csv')",
    "from query('select * from read_text(''{outside}/secret.csv'')')",
    "from query_table('{outside}/secret.csv')",
    "from json_execute_serialized_sql(json_serialize_sql('from read_text(''{outside}/secret.csv'')'))",
    # the network
    "select * from read_csv('http://127.0.0.1:9/x.csv')",
    "select * from read_parquet('s3://bucket/x.parquet')",
    # writing
    "copy (select 1) to '{outside}/made.csv'",
    "copy runs to '{outside}/made.parquet' (format parquet)",
    "explain copy (select 1) to '{outside}/made.csv'",
    "explain analyze copy (select 1) to '{outside}/made.csv'",
    "explain analyze /* x */ copy (select 1) to '{outside}/made.csv'",
    "explain (analyze) copy (select 1) to '{outside}/made.csv'",
    "export database '{outside}/dump'",
    "create table t as select 1",
    "create or replace view runs as select 1",
    "create temp table t as select 1",
    "insert into runs select * from runs",
    "update findings set severity = 'info'",
    "delete from findings",
    "drop table findings",
    "truncate findings",
    "alter table findings drop column severity",
    "with x as (delete from findings returning *) select * from x",
    "checkpoint",
    "select * from checkpoint()",
    "vacuum",
    # reaching other databases, code and settings
    "attach '{outside}/other.duckdb' as o",
    "attach '{outside}/new.duckdb' as n",
    "use memory",
    "detach evidence",
    "install httpfs",
    "load httpfs",
    "load '{outside}/library.duckdb_extension'",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "set global memory_limit = '64GB'",
    "reset enable_external_access",
    "set temp_directory = '{outside}'",
    "pragma enable_external_access",
    "pragma database_list",
    "call pragma_version()",
    "create macro m() as table select * from read_text('{outside}/secret.csv')",
    "create secret s (type s3, key_id 'x', secret 'y')",
    "import database '{outside}'",
    "prepare p as select 1",
    "execute p",
    "begin",
    "select getenv('HOME')",
    # more than one statement, none, or no SQL
    "select 1; select 2",
    "select 1; copy (select 1) to '{outside}/made.csv'",
    "select 1; set enable_external_access = true; select * from read_text('{outside}/secret.csv')",
    "",
    ";",
    "-- nothing",
    "import os; os.system('id')",
    "select * from no_such_table",
    "select 'unfinished",
    "\x00select 1",
    "select 1 \ud800",
    # more than its share
    "select repeat('x', 1000000000)",
    "select length(repeat('x', 4000000000))",
    "select count(*) from range(10000000000) a, range(10000000000) b",
    "select sum(a.range * b.range) from range(10000000) a, range(10000000) b",
    "with recursive r(n) as (select 1 union all select n + 1 from r) select max(n) from r",
    "select list(range) from range(500000000)",
    "select range(2000000000)",
    "select string_agg(repeat('x', 1000), '') from range(10000000)",
    "select regexp_matches(repeat('a', 5000000), '(a*)*b')",
    "select * from range(1000000000) order by hash(range)",
    "select " + "(" * 20_000 + "1" + ")" * 20_000,
    "select " + "+".join(["1"] * 50_000),
]


SAMPLED = [pytest.param(p, marks=() if n % 2 == 0 else pytest.mark.full) for n, p in enumerate(HOSTILE)]
"""Every payload costs a process; each second one runs in the full suite only."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("payload", SAMPLED, ids=lambda p: p[:60].encode("ascii", "replace").decode())
def test_hostile_sql_gets_nothing(home: Path, database: Path, payload: str) -> None:
    before = state(home)
    try:
        shown = str(run_query(database, payload.replace("{outside}", str(home / "outside")), wall_s=2, max_rows=100))
    except (ConfigError, IncompleteError) as e:
        shown = str(e)
    assert MARK not in shown
    assert "root:" not in shown
    assert state(home) == before


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select 1 as a", ((1,),)),
        ("from runs select count(*)", ((4,),)),
        ("with x as (select 2 as a) select * from x", ((2,),)),
        ("values (1, 'a')", ((1, "a"),)),
        ("select 'a;b' as text -- ; select 2", (("a;b",),)),
        ("select null, true, 1.50, date '2026-01-02', timestamptz '2026-01-02 03:04:05+00'",
         ((None, True, "1.50", "2026-01-02", "2026-01-02T03:04:05Z"),)),
        ("select [1, 2], {'a': 1}, 'nan'::double, '\\xAA'::blob, 170141183460469231731687303715884105727::hugeint",
         (([1, 2], {"a": 1}, "nan", "aa", 170141183460469231731687303715884105727),)),
        ("select score_best from posture where run_id like '20260103%'", ((81,),)),
        ("select distinct severity from findings order by 1", (("critical",), ("high",), ("medium",))),
    ],
)  # fmt: skip
def test_analysts_get_their_rows(database: Path, sql: str, rows: tuple[tuple[object, ...], ...]) -> None:
    assert run_query(database, sql).rows == rows


def test_explain_and_describe_work(database: Path) -> None:
    assert "PROJECTION" in str(run_query(database, "EXPLAIN select 1 + 1 as x").rows).upper()
    assert "PROJECTION" in str(run_query(database, "explain analyze select severity from findings").rows).upper()
    assert ("severity", "VARCHAR") in [row[:2] for row in run_query(database, "describe findings").rows]


def test_rows_and_bytes_are_capped_and_said_to_be(database: Path) -> None:
    assert run_query(database, "from range(11)", max_rows=11).truncated is False
    cut = run_query(database, "from range(1000000000)", max_rows=10)
    assert (len(cut.rows), cut.truncated) == (10, True)
    small = run_query(database, "select repeat('x', 1000) from range(100)", max_bytes=10_000)
    assert (len(small.rows), small.truncated) == (9, True)


def test_a_query_that_spills_may_use_its_scratch(database: Path) -> None:
    """Sorting more than the memory limit works: 4 million rows of 8 bytes and their hashes, under 64 MB."""
    sql = "select count(*) from (select range from range(4000000) order by hash(range)) where range = 5"
    assert run_query(database, sql, memory_mb=256).rows == ((1,),)


def test_wrong_sql_names_the_error_and_exits_2(database: Path) -> None:
    with pytest.raises(ConfigError, match='"severities" not found') as caught:
        run_query(database, "select severities from findings")
    assert caught.value.exit_code == 2


def test_a_missing_database_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no published database yet"):
        run_query(tmp_path / "none.duckdb", "select 1")


def test_the_time_limit_is_an_incomplete_answer(database: Path) -> None:
    with pytest.raises(IncompleteError, match="stopped after 1 s"):
        run_query(
            database, "with recursive r(n) as (select 1 union all select n + 1 from r) select max(n) from r", wall_s=1
        )


def test_every_mart_is_a_table_and_counted(database: Path) -> None:
    snapshot = dict(run_query(database, 'select "table", rows from _snapshot').rows)
    assert set(snapshot) == {file.stem for file in view_files("marts")}
    assert snapshot["runs"] == 4
    kinds = run_query(database, "select distinct table_type from information_schema.tables").rows
    assert kinds == (("BASE TABLE",),)


@pytest.mark.parametrize("name", ["paths_with_proof", "not_tested_controls", "finding_age"])
def test_cookbook_runs_in_the_sandbox(database: Path, name: str) -> None:
    assert run_query(database, (COOKBOOK / f"{name}.sql").read_text()).rows


def test_publishing_again_replaces_the_file_whole(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """A reader of the old file keeps it; the folder holds nothing but the new one."""
    path = tmp_path / "it's" / "evidence.duckdb"
    build_sandbox(lake, path)
    reader = duckdb.connect(str(path), read_only=True)
    first = path.stat().st_ino
    build_sandbox(lake, path)
    assert path.stat().st_ino != first
    assert reader.execute("select count(*) from findings").fetchall() == [(5,)]
    assert [file.name for file in path.parent.iterdir()] == ["evidence.duckdb"]


def test_a_failed_build_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "evidence.duckdb"
    path.write_bytes(b"the old one")
    with duckdb.connect() as no_lake, pytest.raises(duckdb.Error):
        build_sandbox(no_lake, path)
    assert path.read_bytes() == b"the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["evidence.duckdb"]


def test_published_tables_equal_the_views(lake: duckdb.DuckDBPyConnection, database: Path) -> None:
    with duckdb.connect(str(database), read_only=True) as published:
        published.execute("set TimeZone = 'UTC'")
        for file in view_files("marts"):
            sql = f'from "{file.stem}" order by all'
            assert published.execute(sql).fetchall() == lake.execute(sql).fetchall(), file.stem
