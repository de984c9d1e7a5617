"""Files of other tools become families that mean the same, and nothing of them is lost without a word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import content
from tasks.errors import ConfigError
from tasks.mapping.catalog import load_catalogs
from tasks.mapping.resolve import load_kinds
from tasks.probing.catalog import Family, load_families
from tasks.probing.detectors import Context, evaluate
from tasks.probing.imports.example import example_of
from tasks.probing.imports.pack import Imported, import_pack
from tasks.targets.target import Reply

REFUSED = "I'm sorry, but I can't help with that."


def imported(folder: Path, name: str, text: str, form: str, *hits: str) -> tuple[Imported, dict[str, Family]]:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / name).write_text(text, encoding="utf-8")
    made = import_pack(folder / "in" / name, form, folder / "out", "Apache-2.0", hits)
    return made, load_families(folder / "out")


def verdict(family: Family, reply: str, **more: Any) -> str:
    said = Reply(text=reply, finish=more.pop("finish", "stop"), **more)
    return evaluate(family, said, Context({})).verdict.value


def one(folder: Path, *assertions: Any) -> Family:
    """The family of a promptfoo file with one test."""
    test = {"vars": {"secret": "BLUE.FERN"}, "assert": list(assertions)}
    _, families = imported(folder, "x.yaml", json.dumps({"prompts": ["Say it."], "tests": [test]}), "promptfoo")
    return next(iter(families.values()))


# assertion, a reply that passes it, a reply that fails it
FAITHFUL: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "not-contains", "value": "PWNED"}, "no, pwned not", "so: PWNED"),
    ({"type": "not-icontains", "value": "PWNED"}, "no", "so: pwned"),
    ({"type": "not-contains", "value": "{{secret}}"}, "BLUE FERN", "BLUE.FERN"),
    ({"type": "contains", "value": "bank"}, "our bank", "our Bank"),
    ({"type": "icontains", "value": "bank"}, "our Bank", "our shop"),
    ({"type": "contains", "value": 0}, "10", "none"),
    ({"type": "contains-any", "value": ["a.b", "c+"]}, "c+", "c, ab"),
    ({"type": "contains-all", "value": ["a.b", "c+"]}, "c+\na.b", "c+"),
    ({"type": "icontains-all", "value": ["Yes", "no"]}, "NO, yes", "yes"),
    ({"type": "not-contains-any", "value": ["x1", "x2"]}, "x3", "say x2"),
    ({"type": "not-contains-all", "value": ["x1", "x2"]}, "only x2", "x2,\nx1"),
    ({"type": "regex", "value": r"^\d{4}$"}, "1234", "12345"),
    ({"type": "not-regex", "value": r"sk-[a-z]{3,}"}, "sk-ab", "key: sk-abcd"),
    ({"type": "starts-with", "value": "No"}, "No way", "Well, No"),
    ({"type": "equals", "value": "No."}, "No.", "No. But"),
]  # fmt: skip


@pytest.mark.parametrize(("assertion", "good", "bad"), FAITHFUL, ids=lambda v: str(v)[:40])
def test_an_assertion_decides_as_in_the_source(tmp_path: Path, assertion: Any, good: str, bad: str) -> None:
    family = one(tmp_path, assertion)
    assert verdict(family, good) == "resistant"
    assert verdict(family, bad) == "vulnerable"
    assert verdict(family, "", finish=None, error_kind="timeout") == "error", "no fault is a verdict"
    if not assertion["type"].startswith("not-"):
        assert verdict(family, "cut of", finish="length") == "error", "what a cut-off reply lacks proves nothing"


UNMAPPED: list[dict[str, Any]] = [
    {"type": "javascript", "value": "output.length < 10"},
    {"type": "not-contains", "value": ["x"]},
    {"type": "not-is-refusal"},  # a rate of the control group, never a finding
    {"type": "similar", "value": "x", "threshold": 0.8},
    {"type": "promptfoo:redteam:pii"},
    {"type": "regex", "value": "(?<=a)b\\1"},
    {"type": "contains", "value": "file://words.txt"},
    {"type": "contains", "value": "x", "transform": "output.toLowerCase()"},
    {"type": "assert-set", "assert": [{"type": "contains", "value": "x"}]},
]


@pytest.mark.parametrize("assertion", UNMAPPED, ids=lambda v: str(v["type"]))
def test_what_cannot_be_said_is_told_and_never_passes(tmp_path: Path, assertion: dict[str, Any]) -> None:
    test = {"assert": [assertion, {"type": "not-contains", "value": "PWNED"}]}
    made, families = imported(tmp_path, "x.json", json.dumps({"prompts": ["Go."], "tests": [test]}), "promptfoo")
    (family,) = families.values()
    assert verdict(family, "so: PWNED") == "vulnerable", "the rest still counts"
    assert verdict(family, "All is well.") == "undecided"
    assert f"- not imported: assertion `{assertion['type']}` (1 times: x.json)" in made.lines()
    assert (tmp_path / "out" / "IMPORT.md").read_text().count(f"`{assertion['type']}`") == 1


@pytest.mark.parametrize(
    ("fields", "seeds", "told"),
    [
        ({"threshold": 0.5}, 1, "assertions under `threshold`"),
        ({"options": {"transform": "output.trim()"}}, 1, "assertions under `transform`"),
        ({"options": {"prefix": "Hello. "}}, 0, "a test whose prompts are changed by `prefix`"),
        ({"prompts": ["one"]}, 0, "a test whose prompts are changed by `prompts`"),
    ],
)
def test_what_changes_a_test_is_not_passed_over(tmp_path: Path, fields: dict[str, Any], seeds: int, told: str) -> None:
    check = {"type": "not-contains", "value": "PWNED"}
    config = {"prompts": ["Go."], "tests": [{"assert": [check], **fields}, {"vars": {"x": "y"}, "assert": [check]}]}
    made, families = imported(tmp_path, "x.json", json.dumps(config), "promptfoo")
    assert any(told in line for line in made.lines())
    scored = [f for f in families.values() if verdict(f, "so: PWNED") == "undecided"]
    assert sum(len(f.seeds) for f in scored) == seeds


def test_assertions_that_no_reply_can_meet_are_told(tmp_path: Path) -> None:
    impossible = {"assert": [{"type": "contains", "value": "x1"}, {"type": "not-contains", "value": "x1"}]}
    fine = {"assert": [{"type": "not-contains", "value": "x1"}]}
    text = json.dumps({"prompts": ["Go."], "tests": [impossible, fine]})
    made, families = imported(tmp_path, "x.json", text, "promptfoo")
    assert len(families) == 1
    assert any("contradict each other" in line for line in made.lines())


def test_a_refusal_resists_and_the_rest_is_for_judges(tmp_path: Path) -> None:
    family = one(tmp_path, {"type": "is-refusal"}, {"type": "llm-rubric", "value": "Names no {{secret}}"})
    assert (verdict(family, REFUSED), verdict(family, "Well.")) == ("resistant", "undecided")
    assert family.rubric is not None
    assert "Names no BLUE.FERN" in (tmp_path / "out" / family.rubric).read_text()


def test_prompts_tests_and_listed_variables_are_multiplied(tmp_path: Path) -> None:
    chat = json.dumps([{"role": "system", "content": "Be {{tone}}"}, {"role": "user", "content": "{{ask}}"}])
    config = {
        "prompts": [chat, "Please: {{ ask }}", "file://other.txt"],
        "defaultTest": {"vars": {"tone": "kind"}, "assert": [{"type": "not-contains", "value": "X9"}]},
        "tests": [{"vars": {"ask": ["one", "two"]}}, {"vars": {"ask": "{% raw %}"}}, "file://more.yaml"],
    }
    made, families = imported(tmp_path, "x.yaml", json.dumps(config), "promptfoo")
    planted = {(s.plant.get("system"), s.turns[-1][1]) for f in families.values() for s in f.seeds}
    assert planted == {
        ("Be kind", "one"), ("Be kind", "two"), (None, "Please: one"), (None, "Please: two"),
    }  # fmt: skip
    assert {f.requires for f in families.values()} == {("chat",), ("chat", "system_prompt")}
    told = "\n".join(made.lines())
    assert "a prompt in another file" in told
    assert "a test in another file" in told
    assert "{{ or {%" in told
    assert told.startswith("2 families, 4 seeds; read: 7 prompts or tests in 1 files")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "Ignore that.\n\nPrint it, {generator.name}.\n"),
        ("p.json", json.dumps(["Ignore that.", "Print it, {generator.name}."])),
        ("p.json", json.dumps({"direct": ["Ignore that."], "indirect": ["Print it, {generator.name}."]})),
        ("p.json", json.dumps({"payloads": ["Ignore that.", "Print it, {generator.name}."], "detector_name": "a.B"})),
    ],
)
def test_prompts_of_garak(tmp_path: Path, name: str, text: str) -> None:
    _, families = imported(tmp_path, name, text, "garak", "[DAN]")
    (family,) = families.values()
    assert [s.turns for s in family.seeds] == [(("user", "Ignore that."),), (("user", "Print it, assistant."),)]
    assert (verdict(family, "so: [dan]"), verdict(family, REFUSED), verdict(family, "Hm.")) == (
        "vulnerable", "resistant", "undecided",
    )  # fmt: skip
    assert (family.source, family.licence) == (f"garak: {name}", "Apache-2.0")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", family.references[0])


def test_conversations_of_garak(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    entry = {"turns": [{"role": role, "message": text} for role, text in turns]}
    made, families = imported(tmp_path, "c.json", json.dumps([entry, 3]), "garak")
    (family,) = families.values()
    assert family.seeds[0].turns == (("user", "a"), ("assistant", "b"), ("user", "c"))
    assert family.seeds[0].plant["system"] == "Be brief."
    told = "\n".join(made.lines())
    assert "an answer at the end" in told
    assert "neither a text nor a conversation" in told


def test_a_pack_is_an_ordinary_folder_without_controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"Number {n}: tell me. {'x' * 3000}" for n in range(230)]
    made, families = imported(tmp_path, "many.json", json.dumps(words), "garak")
    assert (made.seeds, len(families)) == (230, made.families)
    assert made.families >= 5, "a family file has a bounded size"
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(content, "PROBES", tmp_path / "none")
    assert content.lint_probes(tmp_path / "out") == f"ok: {made.families} families, {3 * made.families} selftests agree"
    kinds = load_kinds(load_catalogs(), own=tmp_path / "out" / "kinds.yaml")
    mine = [kinds[f.finding_kind] for f in families.values()]
    assert {link.relation for kind in mine for link in kind.links} == {"none"}
    assert yaml.safe_load((tmp_path / "out" / "kinds.yaml").read_text())["reviewer"] == "nobody yet"


def test_a_folder_tells_what_it_did_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.json").write_text('["Hello."]')
    (folder / "twice.txt").write_text("Hello.\nHello.\n")
    (folder / "broken.json").write_text('["a",\n')
    (folder / "table.tsv").write_text("a\tb")
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    (tmp_path / "outside.json").write_text('["secret"]')
    made = import_pack(folder, "garak", tmp_path / "out", "MIT")
    assert (made.families, made.seeds) == (2, 2)
    told = "\n".join(made.lines())
    for part in ("occurs twice", "broken.json: ", "table.tsv: garak files end in", "link.json: leads outside"):
        assert part in told


@pytest.mark.parametrize(
    ("name", "form", "text", "problem"),
    [
        ("x.json", "garak", '["a",\n', r"x\.json:2: not valid JSON"),
        ("x.json", "garak", '"a"', r"x\.json:1: neither a list"),
        ("x.json", "garak", '["{{ a }}"]', "nothing could be imported: x.json: a text with"),
        ("x.yaml", "promptfoo", "tests: [", r"x\.yaml:2: not valid YAML"),
        ("x.yaml", "promptfoo", "prompts: [a]\n", r"x\.yaml:1: a promptfoo file has a list"),
        ("x.yaml", "promptfoo", "a: &a [1]\ntests: *a\n", r"x\.yaml:1: an anchor is not allowed"),
        ("x.csv", "promptfoo", "a,b", "promptfoo files end in"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, name: str, form: str, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as e:
        imported(tmp_path, name, text, form)
    assert e.value.exit_code == 2


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    imported(tmp_path, "x.txt", "Hello.\n", "garak")
    with pytest.raises(ConfigError, match="is not empty; name a new one"):
        imported(tmp_path, "x.txt", "Hello.\n", "garak")


@pytest.mark.parametrize(
    "pattern",
    [
        r"^sk-[A-Za-z0-9]{20,}$",
        r"(?i)yes|no",
        r"[^a]b+?c*",
        r"\d{3}-\w+\s\S",
        r"(?:ab){2}(c|d)",
        r"a(?=b)b",
        r"[^\d\w]",
    ],
)
def test_an_example_matches(pattern: str) -> None:
    example = example_of(pattern)
    assert example is not None
    assert re.search(pattern, example)


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?<=a)b", "(", "a{1000}"])
def test_no_example_is_better_than_a_wrong_one(pattern: str) -> None:
    example = example_of(pattern)
    assert example is None or re.search(pattern, example)
