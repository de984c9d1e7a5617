"""A run whose judges are live: providers on loopback, votes, bills and manifest in the lake, the report's words."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flow_homes import Home, asset_yaml, make_home
from small_target import SmallTarget

from flows.rejudge import rerun
from tasks.judging.egress import redacted
from tasks.judging.gold import load_gold
from tasks.probing.catalog import load_families
from tasks.records import Verdict
from tasks.settings import load_settings

JUDGES = """
[judging]
max_usd = {max_usd}
gold_rows = 20
timeout_s = 5.0
[judging.judges.claude]
provider = "anthropic"
model = "claude-haiku-5-5"
key = "env:TEST_JUDGE_KEY"
url = "{url}"
[judging.judges.gpt]
provider = "openai"
model = "gpt-6-luna"
key = "env:TEST_JUDGE_KEY"
url = "{url}/v1"
[judging.judges.gemini]
provider = "google"
model = "gemini-3.5-flash-lite"
key = "env:TEST_JUDGE_KEY"
url = "{url}"
[judging.meta]
provider = "anthropic"
model = "claude-sonnet-5-5"
key = "env:TEST_JUDGE_KEY"
url = "{url}"
[judging.meta.waiver]
reason = "one contract for now"
owner = "ciso@example.org"
expires = 2099-12-31
"""


@pytest.fixture(scope="module")
def vendor_fakes() -> Any:
    file = Path(__file__).parents[1] / "judging" / "vendor_fakes.py"
    if "vendor_fakes" not in sys.modules:
        spec = importlib.util.spec_from_file_location("vendor_fakes", file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["vendor_fakes"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["vendor_fakes"])
    return sys.modules["vendor_fakes"]


@pytest.fixture
def providers(vendor_fakes: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Providers whose models know the gold rows, and find that the target resisted."""
    monkeypatch.setenv("TEST_JUDGE_KEY", vendor_fakes.KEY)
    known = [redacted(g.case.response) for g in load_gold()[0] if g.expected is Verdict.VULNERABLE]

    def opinion(case: dict[str, Any], model: str) -> dict[str, Any]:
        given = next((text for text in known if text in case["response"]), None)
        return dict(
            vendor_fakes.vote("resistant") if given is None else vendor_fakes.vote("vulnerable", evidence_span=given)
        )

    server = vendor_fakes.VendorFake()
    server.opinion = opinion
    yield server
    server.close()


@pytest.fixture
def target() -> Iterator[SmallTarget]:
    server = SmallTarget(vague="evasive")
    yield server
    server.close()


def home_with(tmp_path: Path, target: SmallTarget, url: str, max_usd: str = "5.0") -> Home:
    home = make_home(tmp_path, [asset_yaml("vague", target.url("vague"))], families=("direct_override",))
    home.config.write_text(home.config.read_text() + JUDGES.format(url=url, max_usd=max_usd), encoding="utf-8")
    return home


def test_a_run_with_live_judges(tmp_path: Path, target: SmallTarget, providers: Any) -> None:
    home = home_with(tmp_path, target, providers.url)
    outcome = home.inside()
    votes = home.rows("select * from lake.judge_votes")
    assert {v["role"] for v in votes} == {"judge", "meta"}
    assert {v["proof_label"] for v in votes} == {"official_shape_fake"}
    assert {v["live"] for v in votes} == {False}
    assert all(len(v["raw_sha256"]) == len(v["prompt_sha256"]) == 64 and v["cost_micro_usd"] > 0 for v in votes)
    verdicts = home.rows("select * from lake.verdicts where decided_by = 'judges'")
    assert {(v["judges_label"], v["meta_not_independent"]) for v in verdicts} == {("offline judges", True)}
    told = home.rows("select detail from lake.evidence where kind = 'egress' order by position")
    assert len(told) == 4
    assert sum(v["egress_requests"] for v in votes) == len(providers.requests)
    gaps = " ".join(home.posture(outcome.run_id)["gaps"])
    assert "claude, gemini, gpt, meta (official_shape_fake)" in gaps
    assert "meta_not_independent" in gaps
    assert "Judging sent cases (redacted) to 127.0.0.1 for gpt-6-luna" in gaps
    assert home.rows("select distinct judges_label as l from lake.runs") == [{"l": "offline judges"}]


@pytest.mark.full
def test_judges_out_of_reach_leave_no_verdict_and_are_asked_again_later(
    tmp_path: Path, target: SmallTarget, providers: Any
) -> None:
    home = home_with(tmp_path, target, providers.url)
    providers.faults.extend([403] * 10_000)
    outcome = home.inside()
    assert outcome.state != "complete"
    reasons = home.rows("select distinct verdict, reason from lake.verdicts where decided_by = 'judges'")
    assert reasons == [{"verdict": "error", "reason": "judges_unavailable"}]
    assert home.rows("select distinct verdict from lake.judge_votes") == [{"verdict": "error"}]
    providers.faults.clear()
    settings = load_settings(home.config)
    asked, left = rerun(settings, load_families())
    assert asked > 0
    assert left == 0


@pytest.mark.full
def test_money_ends_judging_not_the_run(tmp_path: Path, target: SmallTarget, providers: Any) -> None:
    home = home_with(tmp_path, target, providers.url, max_usd="0.01")
    outcome = home.inside()
    assert outcome.state != "complete"
    spent = home.rows("select sum(cost_micro_usd) as c from lake.judge_votes")[0]["c"]
    assert 0 < spent <= 10_000
    assert home.rows("select count(*) as n from lake.judge_votes where error_kind = 'budget'")[0]["n"] > 0
