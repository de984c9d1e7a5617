"""The real command line in a subprocess: bad input, exit codes, streams, and what each command promises."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flow_homes import Home, asset_yaml, child_environment, make_home
from small_target import SmallTarget

from tasks.discovery.inventory import load_inventory
from tasks.settings import CONTENT_ROOT

pytestmark = pytest.mark.xdist_group("command_line")  # what they share takes long to make

HomeMaker = Callable[..., Home]
TargetMaker = Callable[..., SmallTarget]
PARITY_KEYS = """asset_kinds sources checks mcp_checks rag_tests vector_tests toxic_combinations dlp_patterns
    normalization_passes reason_codes wire_formats probe_families probe_seeds probe_templates selftests judges
    frameworks controls mapping_edges overlaps exports cookbook_queries"""
BAD_INVENTORIES = {
    "not YAML": ("assets: [\n", "YAML"),
    "unknown kind": ("  - id: llm/b\n    kind: chatbot\n    name: B\n", "unknown kind"),
    "unknown field": ("  - id: llm/b\n    kind: tool\n    name: B\n    colour: red\n", "unknown field"),
    "same id": (asset_yaml("one", "http://127.0.0.1:9/v1"), "already used"),
    "secret": ("  - id: llm/b\n    kind: tool\n    name: B\n    props: {password: hunter2}\n", "file:PATH"),
    "undeclared use": ("  - id: llm/b\n    kind: tool\n    name: B\n    uses: [mcp/gone]\n", "not declared"),
    "alias": ("  - &a\n    id: llm/b\n    kind: tool\n    name: B\n", "anchor"),
}
BAD_SETTINGS = {
    "not TOML": ("[probing\n", "TOML"),
    "unknown setting": ("[judging]\nmeta_flor = 0.5\n", "unknown setting"),
    "wrong type": ('[judging]\nmeta_floor = "high"\n', "wrong type"),
    "unknown table": ("[weather]\nrain = true\n", "unknown setting"),
}


@pytest.fixture
def one(home: HomeMaker, target: TargetMaker) -> tuple[Home, SmallTarget]:
    service = target(one="obedient")
    return home([asset_yaml("one", service.url("one"))], families=("prefix_injection",)), service


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, subprocess.CompletedProcess[str], str]]:
    """A home after one complete nightly run, `--json` and `--fail-on high`, of the command line with the real gate."""
    service = SmallTarget(one="obedient")
    home = make_home(tmp_path_factory.mktemp("ran"), [asset_yaml("one", service.url("one"))], ("prefix_injection",))
    result = home.aispm("run", "nightly", "--json", "--fail-on", "high", FORCE_COLOR="")
    assert result.returncode == 3, result.stdout + result.stderr
    yield home, result, json.loads(result.stdout)["run_id"]
    service.close()


def assert_refused(result: subprocess.CompletedProcess[str], home: Home, service: SmallTarget) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert service.requests == 0, "something was sent"
    assert not (home.state / "lake").exists(), "something was written"


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_INVENTORIES)
def test_a_broken_inventory_is_refused_with_its_line(name: str, one: tuple[Home, SmallTarget]) -> None:
    home, service = one
    text, says = BAD_INVENTORIES[name]
    good = home.inventory.read_text(encoding="utf-8")
    home.inventory.write_text(good + text, encoding="utf-8")
    result = home.aispm("run", "nightly", "--engine", "plain")
    assert_refused(result, home, service)
    found = re.search(r"inventory\.yaml:(\d+): ", result.stderr)
    assert found, result.stderr
    assert int(found[1]) > len(good.splitlines()), "the line is not that of the fault"
    assert says in result.stderr


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_broken_settings_are_refused_with_their_line(name: str, one: tuple[Home, SmallTarget]) -> None:
    home, service = one
    text, says = BAD_SETTINGS[name]
    good = home.config.read_text(encoding="utf-8")
    home.config.write_text(good + "\n" + text, encoding="utf-8")
    result = home.aispm("run", "nightly")
    assert_refused(result, home, service)
    found = re.search(r"aispm\.toml:(\d+): ", result.stderr)
    assert found, result.stderr
    assert int(found[1]) > len(good.splitlines())
    assert says in result.stderr


def test_a_broken_probe_is_refused_with_its_line(one: tuple[Home, SmallTarget]) -> None:
    home, service = one
    own = home.folder / "own"
    own.mkdir()
    (own / "mine.yaml").write_text("id: mine\nversion: 1.0.0\ntitle: Mine\nseverity: dreadful\n", encoding="utf-8")
    home.set("[probing]\n", '[probing]\nfolder = "own"\n')
    result = home.aispm("run", "nightly")
    assert_refused(result, home, service)
    assert re.search(r"own/mine\.yaml:\d+: ", result.stderr), result.stderr


def test_a_broken_mapping_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mapping.csv"
    file.write_text("finding_kind,framework,version,control_id\nprobe.x,owasp-llm,2025,LLM99\n", encoding="utf-8")
    result = Home(tmp_path).cli("mappings", "lint", str(file))
    assert result.returncode in (2, 3)
    assert re.search(r"mapping\.csv:\d+", result.stdout + result.stderr), result.stdout + result.stderr


def test_a_broken_mapping_of_the_checkout_stops_the_run(one: tuple[Home, SmallTarget], tmp_path: Path) -> None:
    home, service = one
    checkout = tmp_path / "checkout"
    for name in ("flows", "tasks", "gateway", "sql", "probes", "mappings"):
        shutil.copytree(CONTENT_ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = checkout / "mappings" / "kinds" / "probes.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("probe.direct_override: {themes: [TH01]}", "probe.direct_override: {themes: [TH99]}"))
    result = home.aispm("run", "nightly", PYTHONPATH=str(checkout))
    assert_refused(result, home, service)
    assert re.search(r"kinds/probes\.yaml:5: .*TH99", result.stderr), result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "nightly", "--fast"), "--fast"),
        (("run", "hourly"), "nightly or weekly"),
        (("run", "nightly", "--fail-on", "bad"), "critical, high"),
        (("run", "nightly", "--engine", "steam"), "plain"),
        (("run", "nightly", "--progress", "loud"), "plain"),
        (("fly",), "fly"),
    ],
)
def test_unknown_words_are_usage_errors(arguments: tuple[str, ...], says: str, one: tuple[Home, SmallTarget]) -> None:
    home, service = one
    result = home.aispm(*arguments)
    assert_refused(result, home, service)
    assert says in result.stderr


def test_a_missing_settings_file_says_what_to_do(tmp_path: Path) -> None:
    result = Home(tmp_path).cli("--config", "nowhere.toml", "run", "nightly")
    assert result.returncode == 2
    assert "aispm init" in result.stderr


# -- a run ------------------------------------------------------------------------------------------------------------


def test_json_is_one_object_and_progress_goes_to_stderr(
    ran: tuple[Home, subprocess.CompletedProcess[str], str],
) -> None:
    _, result, _ = ran
    document = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert document["schema"] == "aispm.outcome/1"
    assert document["state"] == "complete", document["troubles"]
    assert document["summary"]["findings"]["high"] > 0
    for step in ("discover", "probe", "judge", "quality", "seal", "report"):
        assert re.search(rf"^{step} ", result.stderr, re.MULTILINE), step
    assert "\x1b" not in result.stdout + result.stderr


def test_the_real_gate_passed_it(ran: tuple[Home, subprocess.CompletedProcess[str], str]) -> None:
    home, _, run_id = ran
    quality = home.posture(run_id)["quality"]
    assert quality["state"] == "passed"
    assert quality["expectations"] > 15
    assert quality["failed"] == 0


# -- proof ------------------------------------------------------------------------------------------------------------


def test_verify_holds_then_finds_one_flipped_bit(
    ran: tuple[Home, subprocess.CompletedProcess[str], str], tmp_path: Path
) -> None:
    home, _, run_id = ran
    assert home.aispm("verify").returncode == 0
    assert home.aispm("verify", "--run", run_id).returncode == 0
    key = home.state / "keys" / "aispm.pub"
    for name in ("posture.json", "package.json"):
        copy = tmp_path / name
        whole = (home.report(run_id) / name).read_bytes()
        for side in (name, f"{name}.sig"):
            (tmp_path / side).write_bytes((home.report(run_id) / side).read_bytes())
        if name == "posture.json":
            assert home.aispm("verify", "--file", str(copy), "--key", str(key)).returncode == 0
        position = len(whole) // 2
        copy.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        altered = home.aispm("verify", "--file", str(copy), "--key", str(key), "--json")
        assert altered.returncode == 5, altered.stdout
        assert json.loads(altered.stdout)["ok"] is False


def test_verify_of_an_unknown_run_is_no_pass(ran: tuple[Home, subprocess.CompletedProcess[str], str]) -> None:
    assert ran[0].aispm("verify", "--run", "20260101T000000Z-none").returncode == 5


# -- asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "drop table findings",
        "select 1; drop table findings",
        "copy findings to '/tmp/aispm-stolen.csv'",
        "attach '/tmp/aispm-x.duckdb'",
        "select * from read_text('/etc/hostname')",
        "set enable_external_access = true",
        "selec 1",
    ],
)
def test_hostile_sql_is_refused(query: str, ran: tuple[Home, subprocess.CompletedProcess[str], str]) -> None:
    home, _, _ = ran
    result = home.aispm("sql", query)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("/tmp/aispm-stolen.csv").exists()


def test_sql_answers_as_a_table_and_as_json(ran: tuple[Home, subprocess.CompletedProcess[str], str]) -> None:
    home, _, _ = ran
    document = json.loads(home.aispm("sql", "select count(*) as n from findings", "--json").stdout)
    assert document["schema"] == "aispm.sql/1"
    assert document["rows"][0]["n"] > 0
    shown = home.aispm("finding", "ls")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout


# -- small commands ---------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['aispm', '--help']\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert e.code == 0\n"
        "heavy = {'prefect', 'duckdb', 'polars', 'pyarrow', 'pandas', 'deltalake', 'great_expectations', 'boto3'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=child_environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip() == "[]"
    assert "Traceback" not in result.stdout
    assert "\x1b" not in result.stdout


def test_parity_counts_every_figure(tmp_path: Path) -> None:
    result = Home(tmp_path).cli("parity", "--json")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert list(figures) == PARITY_KEYS.split()
    assert all(type(value) is int for value in figures.values())
    assert min(figures[name] for name in ("asset_kinds", "checks", "probe_templates", "controls")) > 10


def test_init_writes_what_loads_and_never_overwrites(tmp_path: Path) -> None:
    here = Home(tmp_path)
    arguments = ("init", "--url", "http://127.0.0.1:9/v1", "--model", "small-1", "--credential", "env:SMALL_KEY")
    first = here.cli(*arguments)
    assert first.returncode == 0, first.stderr
    (asset,) = load_inventory(here.inventory).assets
    assert (asset.url, asset.props["model"], asset.props["credential"]) == (
        "http://127.0.0.1:9/v1", "small-1", "env:SMALL_KEY",
    )  # fmt: skip
    kept = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    again = here.cli("init", "--url", "http://127.0.0.1:10/v1")
    assert again.returncode == 0
    assert "kept" in again.stdout
    assert {file: file.read_bytes() for file in kept} == kept
    assert here.cli("init", "--credential", "sk-not-a-reference").returncode == 2


def test_doctor_names_what_is_missing(tmp_path: Path) -> None:
    here = Home(tmp_path)
    bare = here.cli("doctor")
    assert bare.returncode == 2
    for what in ("settings", "signing key", "inventory"):
        assert re.search(rf"^PROBLEM {what}: .*aispm init", bare.stdout, re.MULTILINE), what
    assert here.cli("init", "--url", "http://127.0.0.1:9/v1", "--credential", "env:SMALL_KEY").returncode == 0
    lacking = json.loads(here.cli("doctor", "--json").stdout)
    assert {check["name"] for check in lacking["checks"] if not check["ok"]} == {"credential of llm/first"}
    nobody = json.loads(here.cli("doctor", "--json", SMALL_KEY="k").stdout)
    assert {check["name"] for check in nobody["checks"] if not check["ok"]} == {"reach llm/first"}


def test_doctor_asks_the_endpoint_with_its_key(tmp_path: Path, target: TargetMaker) -> None:
    """A key that is there but refused is a problem now, not after a run of refused attempts."""
    here, service = Home(tmp_path), target(one="unauthorized", two="obedient")
    assert here.cli("init", "--url", service.url("one"), "--credential", "env:SMALL_KEY").returncode == 0
    refused = here.cli("doctor", SMALL_KEY="not-for-the-screen")
    assert refused.returncode == 2
    assert re.search(r"^PROBLEM reach llm/first: HTTP 401 .*credential is refused", refused.stdout, re.MULTILINE)
    assert "not-for-the-screen" not in refused.stdout + refused.stderr
    here.inventory.write_text(here.inventory.read_text().replace("/one/", "/two/"))
    assert here.cli("doctor", SMALL_KEY="k").returncode == 0


def test_doctor_shows_every_setting_with_its_origin(tmp_path: Path) -> None:
    here = Home(tmp_path)
    here.cli("init")
    shown = json.loads(here.cli("doctor", "--show-config", "--json", AISPM_INVENTORY="other.yaml").stdout)["settings"]
    assert shown["probing.concurrency"] == {"value": "4", "origin": "aispm.toml:7"}
    assert shown["probing.timeout_s"]["origin"] == "default"
    assert shown["inventory"] == {"value": "other.yaml", "origin": "environment AISPM_INVENTORY"}
    lines = here.cli("--home", "elsewhere", "doctor", "--show-config").stdout
    assert re.search(r"^home +elsewhere +--home$", lines, re.MULTILINE)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "SMALL_KEY", "AISPM_HOME", "AISPM_CONFIG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
