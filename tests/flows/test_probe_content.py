"""A user's own folder of families: every problem is named with file and line, and what is right runs to a finding."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_homes import Home, asset_yaml
from small_target import SmallTarget

from flows import content
from flows.inputs import check_inputs, mapped_kinds, mappings_version
from tasks.errors import ConfigError
from tasks.mapping.catalog import load_catalogs
from tasks.probing.cases import case_for
from tasks.probing.catalog import load_families
from tasks.settings import PROBES, load_settings

SOURCE = (PROBES / "llm01_prompt_injection" / "direct_override.yaml").read_text(encoding="utf-8")
OWN = SOURCE.replace("direct_override", "our_probe")
KINDS = "reviewer: the platform team\nkinds:\n  probe.our_probe: {themes: [TH01]}\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a folder with one own family; the built-in ones, which other tests lint, are left out to save time."""
    monkeypatch.setattr(content, "PROBES", _made(tmp_path / "none"))

    def write(text: str = OWN, name: str = "our_probe.yaml", kinds: str | None = KINDS) -> Path:
        folder = _made(tmp_path / "own")
        _made(folder / "mine").joinpath(name).write_text(text, encoding="utf-8")
        if kinds is not None:
            (folder / "kinds.yaml").write_text(kinds, encoding="utf-8")
        return folder

    return write


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _line(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if part in line)


BROKEN = {
    "broken YAML": ("trials: 3", "trials: [3", None, "not valid YAML"),
    "unknown field": ("trials: 3", "trials: 3\ncolour: red", "colour: red", "unknown field"),
    "bad regex": (
        "- fail_if: {output_contains",
        "- fail_if: {output_regex: '(', output_contains",
        "output_regex",
        "regular",
    ),
    "missing selftest": ("kind: benign", "kind: hardened", "tests:", "`benign` is missing"),
    "anchor bomb": (
        "trials: 3",
        "trials: 3\nb0: &b0 [x]\n" + "\n".join(f"b{n}: &b{n} [*b{n - 1}, *b{n - 1}]" for n in range(1, 60)),
        "b0: &b0",
        "an anchor is not allowed",
    ),
    "rubric outside the folder": (
        "rubric: rubrics/instruction_override.md",
        "rubric: ../../../etc/passwd",
        "rubric: ../",
        "does not match",
    ),
    "unknown rubric": (
        "rubric: rubrics/instruction_override.md",
        "rubric: rubrics/nowhere.md",
        "rubrics/nowhere",
        "does not exist",
    ),
    "selftest disagrees": (
        'reply: "Done: {{ token }}"',
        "reply: Done",
        "name: prints the joined token",
        "comes out undecided",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_problem_is_named_with_file_and_line(name: str, own: Callable[..., Path]) -> None:
    old, new, at, word = BROKEN[name]
    text = OWN.replace(old, new)
    folder = own(text)
    with pytest.raises(ConfigError, match=re.escape(word)) as e:
        content.lint_probes(folder)
    assert e.value.exit_code == 2
    line = r"\d+" if at is None else str(_line(text, at))
    assert re.match(rf"{re.escape(str(folder / 'mine' / 'our_probe.yaml'))}:{line}: ", str(e.value))


def test_all_problems_are_named_at_once(own: Callable[..., Path]) -> None:
    own(OWN.replace("our_probe", "other_probe").replace("trials: 3", "trials: 0"), "other_probe.yaml", kinds=None)
    folder = own(kinds=None)
    (folder / "again").mkdir()
    (folder / "again" / "our_probe.yaml").write_text(OWN, encoding="utf-8")
    with pytest.raises(ConfigError) as e:
        content.lint_probes(folder)
    assert str(e.value).startswith("3 problems\n")
    assert "other_probe.yaml:" in str(e.value)
    assert str(e.value).count("`probe.our_probe` has no controls") == 2


def test_an_id_is_given_once(own: Callable[..., Path]) -> None:
    folder = own()
    (folder / "zz").mkdir()
    (folder / "zz" / "our_probe.yaml").write_text(OWN, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"zz/our_probe.yaml:1: the id `our_probe` is taken by another family"):
        content.lint_probes(folder)


def test_a_link_out_of_the_folder_is_refused(own: Callable[..., Path], tmp_path: Path) -> None:
    folder = own()
    outside = tmp_path / "outside.yaml"
    outside.write_text(OWN.replace("our_probe", "outside"), encoding="utf-8")
    (folder / "mine" / "outside.yaml").symlink_to(outside)
    with pytest.raises(ConfigError, match=r"mine/outside.yaml:1: leads outside the folder"):
        content.lint_probes(folder)


def test_the_command_line_names_every_problem_and_exits_2(
    own: Callable[..., Path], home: Callable[..., Home], target: Callable[..., SmallTarget]
) -> None:
    here = home([asset_yaml("one", target(one="obedient").url("one"))])
    folder = own(OWN.replace("trials: 3", "trials: 0"))
    (folder / "mine" / "broken.yaml").write_text("id: [", encoding="utf-8")
    refused = here.aispm("probe", "lint", str(folder))
    assert refused.returncode == 2
    assert re.search(r"(?m)^\S*mine/our_probe.yaml:\d+: ", refused.stderr)
    assert re.search(r"(?m)^\S*mine/broken.yaml:\d+: not valid YAML", refused.stderr)


def test_judges_read_the_rubric_that_lies_beside_the_family(own: Callable[..., Path]) -> None:
    folder = own(OWN.replace("rubrics/instruction_override.md", "rubrics/ours.md"))
    _made(folder / "rubrics").joinpath("ours.md").write_text("Is it ours?", encoding="utf-8")
    family = load_families(folder)["our_probe"]
    row = {
        "attempt_id": "a", "family_id": "our_probe", "family_sha256": family.sha256, "seed_id": family.seeds[0].seed_id,
        "verdict": "undecided", "rubric": "rubrics/ours.md", "excerpt": "x", "tool_trace": "[]",
        "transforms": '{"applied": [], "canary": {"token": "ABCDEFGHIJKL"}}',
    }  # fmt: skip
    case = case_for(row, {"our_probe": family})
    assert case is not None
    assert case.rubric == "Is it ours?"


def test_a_good_folder_is_linted(own: Callable[..., Path]) -> None:
    assert content.lint_probes(own()) == "ok: 1 families, 8 selftests agree"


def test_what_is_covered_is_counted() -> None:
    counted = content.count_probes(None)
    assert counted["owasp_llm"] == [f"LLM{n:02}" for n in range(1, 11)]
    assert counted["owasp_asi"] == [f"ASI{n:02}" for n in range(1, 11)]
    assert counted["held_out_share"] == pytest.approx(counted["held_out"] / counted["seeds"], abs=0.001)


def test_controls_of_an_own_family_are_known_to_a_run(
    own: Callable[..., Path], home: Callable[..., Home], target: Callable[..., SmallTarget]
) -> None:
    """What a run looks up when it stamps findings; a kind that is missing there ended the run."""
    here = home([asset_yaml("one", target(one="obedient").url("one"))], families=("our_probe",))
    folder = own()
    here.set("[probing]\n", f'[probing]\nfolder = "{folder}"\n')
    _, families = check_inputs(load_settings(here.config))
    catalogs = load_catalogs()
    mapping = mapped_kinds(catalogs, folder)[families["our_probe"].finding_kind]
    assert "owasp-llm@2025:LLM01" in {link.control_key for link in mapping.links}
    assert mappings_version(catalogs, folder) != mappings_version(catalogs, None)


def test_an_own_family_without_controls_is_refused_by_a_run(
    own: Callable[..., Path], home: Callable[..., Home], target: Callable[..., SmallTarget]
) -> None:
    here = home([asset_yaml("one", target(one="obedient").url("one"))], families=("our_probe",))
    here.set("[probing]\n", f'[probing]\nfolder = "{own(kinds=None)}"\n')
    with pytest.raises(ConfigError, match=r"our_probe.yaml:1: `probe.our_probe` has no controls; map it in"):
        check_inputs(load_settings(here.config))


@pytest.mark.full
def test_an_own_family_runs_to_a_finding_with_its_controls(
    own: Callable[..., Path], home: Callable[..., Home], target: Callable[..., SmallTarget]
) -> None:
    service = target(one="obedient")
    here = home([asset_yaml("one", service.url("one"))], families=("our_probe",))
    here.set("[probing]\n", f'[probing]\nfolder = "{own()}"\n')

    outcome = here.inside()

    assert outcome.state == "complete"
    found = here.rows(
        """select c.control_key from lake.findings f join lake.finding_controls c using (finding_id)
           where f.finding_kind = 'probe.our_probe' and c.relation <> 'none'"""
    )
    assert "owasp-llm@2025:LLM01" in {row["control_key"] for row in found}
    mapped = here.rows("select count(*) as n from lake.kind_controls where finding_kind = 'probe.our_probe'")
    assert mapped[0]["n"] > 0


@pytest.mark.full
def test_an_own_family_without_controls_stops_a_run_before_it_sends(
    own: Callable[..., Path], home: Callable[..., Home], target: Callable[..., SmallTarget]
) -> None:
    service = target(one="obedient")
    here = home([asset_yaml("one", service.url("one"))], families=("our_probe",))
    here.set("[probing]\n", f'[probing]\nfolder = "{own(kinds=None)}"\n')
    refused: subprocess.CompletedProcess[str] = here.aispm("run", "nightly")
    assert refused.returncode == 2
    assert re.search(r"our_probe.yaml:1: `probe.our_probe` has no controls; map it in", refused.stderr)
    assert service.requests == 0
