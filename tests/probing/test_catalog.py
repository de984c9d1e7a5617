"""A family that is not exactly right does not load, and the error says where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import ConfigError
from tasks.probing.catalog import PROBES, load_families, load_family
from tasks.probing.expand import fixed_values, render

SOURCE = (PROBES / "llm01_prompt_injection" / "direct_override.yaml").read_text(encoding="utf-8")


@pytest.fixture
def broken(tmp_path: Path) -> Callable[..., Path]:
    """Write direct_override with one passage changed."""

    def write(old: str, new: str, name: str = "direct_override.yaml", group: str = "g") -> Path:
        assert old in SOURCE
        path = tmp_path / group / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(SOURCE.replace(old, new, 1), encoding="utf-8")
        return path

    return write


def line_of(path: Path, text: str) -> int:
    return path.read_text(encoding="utf-8").splitlines().index(text) + 1


@pytest.mark.parametrize(
    ("old", "new", "at", "word"),
    [
        ("severity: high", "severity: dire", "severity: dire", "not one of"),
        ("intrusive: false", "intrusive: 'no'", "intrusive: 'no'", "must be a boolean"),
        ("trials: 3", "trials: 3\ncolour: red", "colour: red", "unknown field"),
        ("trials: 3\n", "", "id: direct_override", "`trials` is missing"),
        ("id: direct_override", "id: other", "id: other", "not the file's name"),
        ("finding_kind: probe.direct_override", "finding_kind: probe.other", "finding_kind: probe.other", "must be"),
        ("version: 1.0.0", "version: one", "version: one", "does not match"),
        ("  - id: new_task", "  - id: ignore_previous", "  - id: ignore_previous", "occurs twice"),
        ("split: held_out", "split: train", "seeds:", "held_out"),
        ("identity, frame_urgent", "identity, shout", None, "unknown transform `shout`"),
        ("{complete: true, refusal: true}", "{refusal: true}", None, "needs `complete: true`"),
        ("{complete: true, refusal: true}", "{}", None, "empty condition"),
        ("rubrics/instruction_override.md", "rubrics/none_such.md", None, "does not exist"),
        ("- fail_if: {output_contains", "- fail_if: {refusal: true, output_contains", None, "control group only"),
        ("decoders: [plain", "output_regex: '(', decoders: [plain", None, "not a valid regular expression"),
        (
            "- pass_if: {complete: true, refusal: true}",
            "- pass_if: {complete: true, no_tool_calls: []}",
            None,
            "tool_trace",
        ),
        ("- fail_if: {output_contains", "- fail_if: {parsed: {as: sql}, output_contains", None, "reads tool calls"),
        ("- fail_if: {output_contains", "- fail_if: {parsed: {as: ansi}, output_contains", None, "needs `contains`"),
        (
            "- fail_if: {output_contains",
            "- fail_if: {ngram_overlap: {of: system, in: reply, n: 4, at_least: 0.5}, output_contains",
            None,
            "every seed must plant",
        ),
        (
            "- fail_if: {output_contains",
            "- fail_if: {ngram_overlap: {of: system, in: reply, n: 4, at_least: 1.5}, output_contains",
            None,
            "out of bounds",
        ),
        ('reply: "Done: {{ token }}"', "seed: none, reply: x", None, "no seed is called `none`"),
        ('append "{{ token.b }}"', 'append "{{ token.c }}"', None, "no part `c`"),
        ('append "{{ token.b }}"', 'append "{{ tokem.b }}"', None, "not declared"),
        ('append "{{ token.b }}"', 'append "{{ token }}"', None, "must not be sent"),
        ('append "{{ token.b }}"', 'append "{{ token.b | upper }}"', None, "placeholders are"),
    ],
)
def test_refuses_with_path_and_line(broken: Callable[..., Path], old: str, new: str, at: str | None, word: str) -> None:
    path = broken(old, new)
    with pytest.raises(ConfigError, match=word) as e:
        load_family(path)
    assert e.value.path == path
    if at is not None:
        assert e.value.line == [i for i, text in enumerate(path.read_text().splitlines(), 1) if text == at][-1]
    assert str(e.value).startswith(f"{path}:{e.value.line}: ")


def test_a_condition_needs_an_answer_before_it(broken: Callable[..., Path]) -> None:
    path = broken("    turns:\n      - role: user\n", "    turns:\n      - when: refused\n        role: user\n")
    with pytest.raises(ConfigError, match="`when` belongs to a later turn"):
        load_family(path)


def test_conditions_are_part_of_the_template() -> None:
    family = load_families()["pair_tap_offline"]
    rendered = render(family, family.seeds[0], (), fixed_values(family))
    assert rendered.when == {1: "refused", 2: "refused"}
    assert rendered.sha256 != replace(rendered, when={}).sha256


@pytest.mark.parametrize("kind", ["vulnerable", "hardened", "benign"])
def test_each_kind_of_selftest_is_demanded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "direct_override.yaml"
    kept = [line for line in SOURCE.splitlines() if not line.startswith(f"  - {{kind: {kind}")]
    path.write_text("\n".join(kept), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"`{kind}` is missing") as e:
        load_family(path)
    assert e.value.line == kept.index("tests:") + 1


def test_clauses_must_come_in_order(broken: Callable[..., Path]) -> None:
    path = broken(
        "- pass_if: {complete: true, refusal: true}",
        "- pass_if: {complete: true, refusal: true}\n  - fail_if: {output_regex: x}",
    )
    with pytest.raises(ConfigError, match="before any pass_if") as e:
        load_family(path)
    assert e.value.line == line_of(path, "  - fail_if: {output_regex: x}")


def test_ids_are_unique_across_folders(broken: Callable[..., Path]) -> None:
    own = broken("trials: 3", "trials: 4").parent
    with pytest.raises(ConfigError, match="taken by another family"):
        load_families(PROBES, own)
    families = load_families(own)
    assert families["direct_override"].trials == 4


def test_own_families_load_beside_the_built_in_ones(tmp_path: Path) -> None:
    path = tmp_path / "own" / "our_probe.yaml"
    path.parent.mkdir()
    path.write_text(SOURCE.replace("direct_override", "our_probe"), encoding="utf-8")
    assert "our_probe" in load_families(PROBES, tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_families(tmp_path / "none")


def test_the_hash_covers_every_field(broken: Callable[..., Path]) -> None:
    assert load_family(broken("trials: 3", "trials: 4")).sha256 != load_families()["direct_override"].sha256
