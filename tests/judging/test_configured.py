"""Live judges in `aispm.toml`: what is refused, with its line, and what panel comes of the rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tasks.errors import ConfigError
from tasks.judging.configured import configured_panel, new_budget
from tasks.judging.estimate import estimate
from tasks.judging.independence import judging_warnings, planned_label, proof_label, uses_live_judges
from tasks.judging.judge import JudgeSpec, make_vote
from tasks.judging.models import known_model
from tasks.judging.offline import offline_panel
from tasks.judging.self_vendor import maker_of_model, mark_self_vendor
from tasks.judging.vendors.format import Usage
from tasks.judging_settings import JudgeSettings
from tasks.records import Case, ProofLabel, Verdict
from tasks.settings import CONTENT_ROOT, described, load_settings

GOOD = """\
[judging]
egress = "redacted"
[judging.judges.claude]
provider = "anthropic"
model = "claude-haiku-5-5"
key = "env:ANTHROPIC_API_KEY"
[judging.judges.gpt]
provider = "openai"
model = "gpt-6-luna"
key = "env:OPENAI_API_KEY"
[judging.judges.gemini]
provider = "google"
model = "gemini-3.5-flash-lite"
key = "env:GEMINI_API_KEY"
[judging.meta]
provider = "openai_compatible"
model = "qwen3:32b"
family = "qwen"
url = "http://127.0.0.1:11434/v1"
"""
SHARED = GOOD[: GOOD.index("[judging.meta]")] + (
    '[judging.meta]\nprovider = "openai"\nmodel = "gpt-6-sol"\nkey = "env:OPENAI_API_KEY"\n'
)
WAIVER = '[judging.meta.waiver]\nreason = "contract"\nowner = "ciso@example.org"\nexpires = {}\n'
TODAY = datetime.now(UTC).date()


def settings_of(text: str, tmp_path: Path) -> object:
    file = tmp_path / "aispm.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file).judging


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, f"key behind {name}")


@pytest.mark.usefixtures("keys")
def test_three_makers_and_an_independent_meta_judge(tmp_path: Path) -> None:
    judging = settings_of(GOOD, tmp_path)
    panel = configured_panel(judging, new_budget(judging))
    assert [(j.spec.name, j.spec.family, j.spec.live) for j in panel.judges] == [
        ("claude", "claude", True),
        ("gemini", "gemini", True),
        ("gpt", "gpt", True),
    ]
    assert panel.meta is not None
    assert (panel.meta.spec.family, panel.meta_not_independent) == ("qwen", False)
    assert {j.spec.proof_label for j in panel.judges} == {ProofLabel.REAL_COMPONENT}
    assert planned_label(judging) == "live judges"
    assert planned_label(replace(judging, meta=replace(judging.meta, test_double=True))) == "offline judges"


@pytest.mark.usefixtures("keys")
def test_the_version_of_a_judge_follows_all_that_could_change_its_vote(tmp_path: Path) -> None:
    versions = set()
    for old, new in (
        ("x", "x"),
        ("gpt-6-luna", "gpt-6-sol"),
        ('egress = "redacted"', 'egress = "full"'),
        ('key = "env:OPENAI_API_KEY"', 'key = "env:OPENAI_API_KEY"\nmax_output_tokens = 900'),
    ):
        judging = settings_of(GOOD.replace(old, new), tmp_path)
        panel = configured_panel(judging, new_budget(judging))
        versions.add(next(j.spec.version for j in panel.judges if j.spec.name == "gpt"))
    assert len(versions) == 4


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (GOOD.replace('"redacted"', '"some"'), 2, "one of redacted, full, none"),
        (GOOD.replace('provider = "openai"\n', 'provider = "acme"\n'), 8, "one of anthropic, google, openai"),
        (GOOD.replace("[judging.judges.gemini]", "[judging.judges.gpt.gemini]"), 11, "unknown setting"),
        (GOOD.replace('model = "gpt-6-luna"\n', ""), 7, "name the model"),
        (GOOD.replace("gpt-6-luna", "gpt-99"), 9, "no price of `gpt-99` is known"),
        (GOOD.replace("env:OPENAI_API_KEY", "sk-live-key"), 10, "never the key itself"),
        (GOOD.replace('key = "env:OPENAI_API_KEY"\n', ""), 7, "name where the key lies"),
        (GOOD.replace('url = "http://127.0.0.1:11434/v1"\n', ""), 15, "give the base URL"),
        (GOOD.replace("http://127.0.0.1", "http://user:pw@127.0.0.1"), 19, "a plain http(s) URL"),
        (GOOD.replace('family = "qwen"\n', ""), 15, "say whose model it is"),
        (GOOD.replace('family = "qwen"', 'family = "GPT"'), 16, "of one maker with judge `gpt`"),
        (GOOD[: GOOD.index("[judging.meta]")], 1, "live judges need a meta-judge"),
        (GOOD[GOOD.index("[judging.meta]") :], 1, "needs three live judges"),
        (GOOD[: GOOD.index("[judging.judges.gemini]")], 3, "a panel has 3 judges, not 2"),
        (
            GOOD.replace(
                'provider = "google"\nmodel = "gemini-3.5-flash-lite"', 'provider = "openai"\nmodel = "gpt-6-sol"'
            ),
            11,
            "of one maker with `gpt`",
        ),
        (SHARED, 16, "of one maker with judge `gpt` (gpt)"),
        (SHARED + WAIVER.format(TODAY - timedelta(days=1)), 22, "expired on"),
        (SHARED + '[judging.meta.waiver]\nreason = "contract"\n', 19, "needs reason, owner and expires"),
        (SHARED + '[judging.meta.waiver]\nexpires = "tomorrow"\n', 20, "wrong type"),
        (GOOD + "[judging.judges]\nmore = 1\n", 3, "table of tables"),
        (GOOD.replace("[judging]\n", "[judging]\njudges = 3\n").replace("[judging.judges", "[x"), 2, "table of tables"),
        (GOOD.replace('egress = "redacted"', "max_usd = 0"), 2, "greater than 0"),
        (GOOD.replace("[judging.judges.gpt]", "[judging.judges.Gpt]"), 7, "small letters"),
    ],
)
def test_bad_judges_are_refused_at_their_line(text: str, line: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        settings_of(text, tmp_path)
    assert says in str(refused.value)
    assert refused.value.line == line
    assert refused.value.exit_code == 2
    assert "sk-live-key" not in str(refused.value)


@pytest.mark.usefixtures("keys")
def test_a_waiver_lets_a_shared_maker_judge_and_is_stamped(tmp_path: Path) -> None:
    judging = settings_of(SHARED + WAIVER.format(TODAY), tmp_path)
    panel = configured_panel(judging, new_budget(judging))
    assert panel.meta_not_independent is True
    assert judging.meta.waiver.expires == TODAY


def test_nothing_leaves_with_egress_none_whatever_is_declared(tmp_path: Path) -> None:
    judging = settings_of(GOOD.replace('"redacted"', '"none"'), tmp_path)
    assert not uses_live_judges(judging)
    assert configured_panel(judging, new_budget(judging)) is offline_panel()


def test_a_key_that_leads_nowhere_is_told_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    judging = settings_of(GOOD, tmp_path)
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY is not set"):
        configured_panel(judging, new_budget(judging))


def test_every_setting_of_a_judge_is_shown_with_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "aispm.toml"
    file.write_text(GOOD, encoding="utf-8")
    shown = described(load_settings(file), file)
    assert shown["judging.judges.gpt.model"] == ("gpt-6-luna", f"{file}:9")
    assert shown["judging.judges.gpt.temperature"] == ("0.0", "default")


def test_the_example_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its judges may judge as they stand, and so they may with the waiver that it shows."""
    file = CONTENT_ROOT / "aispm.example.toml"
    judging = load_settings(file).judging
    assert sorted(judging.judges) == ["claude", "gemini", "gpt"]
    assert judging_warnings(judging) == []
    assert judging_warnings(replace(judging, egress="full", meta=judging.judges["gpt"])) != []
    panel = configured_panel(judging, new_budget(judging), keys=lambda reference: None)
    assert [j.spec.live for j in panel.judges] == [True] * 3


def test_an_estimate_sends_nothing_and_counts_the_longest_answers() -> None:
    judging = load_settings(CONTENT_ROOT / "aispm.example.toml").judging
    panel = configured_panel(judging, new_budget(judging), keys=lambda reference: None)
    cases = [Case(f"a{i}", "f", "goal", (), "answer", (), "Did it?") for i in range(100)]
    rows = {row.judge: row for row in estimate(panel, cases, cases[:30])}
    assert {name: row.requests for name, row in rows.items()} == {"claude": 140, "gemini": 140, "gpt": 140, "meta": 100}
    assert rows["meta"].micro_usd == 0
    assert rows["gpt"].tokens > 140 * judging.judges["gpt"].max_output_tokens
    # 2,000 tokens of answer at $0.50 a million are a tenth of a cent
    assert 140 * 1_000 < rows["gpt"].micro_usd < 140 * 1_500
    assert [row.host for row in estimate(offline_panel(), cases, [])] == [None] * 4


def test_another_address_than_the_providers_own_is_a_fake() -> None:
    own = JudgeSettings(provider="openai", model="m")
    assert proof_label(own) is ProofLabel.REAL_COMPONENT
    assert proof_label(replace(own, url="https://api.openai.com/v1")) is ProofLabel.REAL_COMPONENT
    assert proof_label(replace(own, url="http://127.0.0.1:9/v1")) is ProofLabel.OFFICIAL_SHAPE_FAKE
    local = JudgeSettings(provider="openai_compatible", model="m", url="http://127.0.0.1:9/v1")
    assert proof_label(local) is ProofLabel.REAL_COMPONENT
    assert proof_label(replace(local, test_double=True)) is ProofLabel.OFFICIAL_SHAPE_FAKE


def test_prices_are_those_of_the_day_and_of_dated_names() -> None:
    usage = Usage(1_000_000, 0, 0, 1_000_000)
    for day, cost in ((date(2026, 12, 31), 4_500_000), (date(2027, 1, 1), 9_000_000)):
        model = known_model("google", "gemini-3.8-flash", day)
        assert model is not None
        assert model.micro_usd(usage) == cost
        assert model.micro_usd(usage, batch=True) == cost // 2
    assert known_model("openai", "gpt-4.1-mini-2025-04-14") is not None
    assert known_model("anthropic", "claude-haiku-4-5-20251001") is not None
    assert known_model("openai", "gpt-4.1-mini-2") is None
    assert known_model("openai", "gpt-6-luna", date(2026, 1, 1)) is None
    assert known_model("google", "gpt-6-luna") is None


def test_a_judge_on_its_own_makers_model_is_marked_or_left_out() -> None:
    case = Case("a1", "f", "g", (), "r", (), "rubric")
    spec = JudgeSpec("gpt", "openai", "gpt", "gpt-6-luna", "1", live=True)
    votes = [make_vote(spec, case, Verdict.RESISTANT, 0.9, "")]
    families = {"gpt": "gpt"}
    assert maker_of_model("openai/gpt-6-luna") == "gpt"
    assert maker_of_model("my-model") is None
    (marked,) = mark_self_vendor(votes, families, {"a1": "gpt"})
    assert (marked.self_vendor, marked.verdict) == (True, Verdict.RESISTANT)
    (out,) = mark_self_vendor(votes, families, {"a1": "gpt"}, exclude=True)
    assert (out.verdict, out.error_kind, out.self_vendor) == (Verdict.ERROR, "self_vendor", True)
    assert mark_self_vendor(votes, families, {"a1": "claude"}) == votes
    assert mark_self_vendor(votes, families, {}) == votes
