"""Probe families from YAML: read strictly and refused with path:line, so that a broken rule never looks clean."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.json_shape import Shape
from tasks.probing.syntax import ARGUMENT_READERS
from tasks.probing.transforms import TRANSFORMS
from tasks.records import Severity, canonical_json, digest
from tasks.settings import PROBES
from tasks.strict_yaml import Lines, load_yaml
from tasks.targets.target import NEW_SESSION

PLACEHOLDER = re.compile(r"\{\{\s*([a-z][a-z0-9_]*(?:\.[a-z]+)?)\s*\}\}")
_PARTS = {
    "canary_joined": ("a", "b"),
    "canary_secret": (),
    "sink_url": ("host",),
    "training_record": ("prefix", "rest", "decoy"),
}
"""What may follow the dot in `{{ var.x }}`, by kind of variable."""
ORIGINAL = "original"
"""`provenance.source` of a family that was written as one; others name where they were taken from."""
MIN_SEEDS = 4
"""Of an original family. An imported one has as many as there were."""
OWN_KINDS = "kinds.yaml"
"""In a folder of own families: their controls, in the form of `mappings/kinds/*.yaml`."""
_TRACE_CONDITIONS = ("tool_called", "no_tool_calls", "tool_order", "tool_count", "tool_identity", "undisclosed")


@dataclass(frozen=True, slots=True)
class Seed:
    seed_id: str
    split: str
    """`train`, or `held_out`: never used while a target or an estate is tuned."""
    turns: tuple[tuple[str, str], ...]
    plant: Mapping[str, Any]
    when: Mapping[int, str] = field(default_factory=dict)
    """Number of a turn -> `refused` or `answered`: said only if the target's last answer was one."""


@dataclass(frozen=True, slots=True)
class Clause:
    effect: str
    """`fail_if`, `pass_if` or `judge`."""
    conditions: Mapping[str, Any]
    """All must hold."""


@dataclass(frozen=True, slots=True)
class Family:
    family_id: str
    version: str
    title: str
    goal: str
    """What the attack is after, in one sentence, for judges and reports."""
    group: str
    """Name of the folder."""
    maturity: str
    severity: Severity
    surfaces: tuple[str, ...]
    requires: tuple[str, ...]
    intrusive: bool
    finding_kind: str
    max_tokens: int
    measures_length: bool
    """A cut-off reply is then a defence at work, not a broken observation."""
    tool_rounds: int
    """Answers to tool calls per exchange."""
    burst: int
    """Requests at once in place of a conversation; 0 = a conversation."""
    vars: Mapping[str, str]
    """Name -> kind."""
    seeds: tuple[Seed, ...]
    product: tuple[tuple[str, ...], ...]
    apply: str
    limit: int
    sample_seed: int
    clauses: tuple[Clause, ...]
    trials: int
    bank_switch: str
    bank_overlaps: tuple[str, ...]
    source: str
    """`original`, or where it was imported from."""
    licence: str
    references: tuple[str, ...]
    """Published works and control ids that the attack goes back to."""
    fix: str
    tests: tuple[Mapping[str, Any], ...]
    sha256: str
    """Over the whole file as canonical JSON."""
    path: Path

    @property
    def id(self) -> str:
        return self.family_id

    @property
    def control_group(self) -> bool:
        """Measures refusals of harmless requests: a rate beside attack success, never a security finding."""
        return self.group == "control"

    @property
    def rubric(self) -> str | None:
        """Path of the judge's rubric below `probes/`, when a judge is asked at all."""
        return next((str(c.conditions["rubric"]) for c in self.clauses if c.effect == "judge"), None)

    def seed(self, seed_id: str) -> Seed:
        return next(s for s in self.seeds if s.seed_id == seed_id)


def load_families(folder: Path = PROBES, extra_folder: Path | None = None) -> dict[str, Family]:
    """All families below `folder` and `extra_folder`, by id, in order of id.

    Raises ConfigError with path:line on anything that is not exactly a family.
    """
    families: dict[str, Family] = {}
    for root in (folder, extra_folder):
        if root is None:
            continue
        for family in _built_in() if root == PROBES else _below(root):
            if family.family_id in families:
                raise taken(family, families[family.family_id])
            families[family.family_id] = family
    return dict(sorted(families.items()))


def family_files(root: Path) -> list[Path]:
    """The files of families below a folder. Raises ConfigError when there is none, or a link leads out of it."""
    if not root.is_dir():
        raise ConfigError("no such folder of probe families", root)
    files = sorted(path for path in root.rglob("*.yaml") if path != root / OWN_KINDS)
    for path in files:
        if not path.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"leads outside the folder {root}; copy the file into it", path, 1)
    return files


def taken(family: Family, other: Family) -> ConfigError:
    """The error for a second family of the same id."""
    return ConfigError(f"the id `{family.family_id}` is taken by another family, {other.path}", family.path, 1)


def _below(root: Path) -> list[Family]:
    return [load_family(path) for path in family_files(root)]


@cache
def _built_in() -> list[Family]:
    """Read once per process: it takes more than a second, and they change with the program only."""
    return _below(PROBES)


@cache
def _shape() -> Shape:
    return Shape(json.loads((PROBES / "schema.json").read_text(encoding="utf-8")))


def load_family(path: Path) -> Family:
    """One family. Raises ConfigError with path:line."""
    data, lines = load_yaml(path)
    _shape().check(data, lines, path)
    _Lint(data, lines, path).run()
    transforms = data["transforms"]
    sets = _read_sets(data["assert"], path)
    return Family(
        family_id=data["id"],
        version=data["version"],
        title=data["title"],
        goal=data["goal"],
        group=path.parent.name,
        maturity=data["maturity"],
        severity=Severity(data["severity"]),
        surfaces=tuple(data["surfaces"]),
        requires=tuple(data["requires"]),
        intrusive=data["intrusive"],
        finding_kind=data["finding_kind"],
        max_tokens=data.get("max_tokens", 512),
        measures_length=data.get("measures_length", False),
        tool_rounds=data.get("tool_rounds", 4),
        burst=data.get("burst", 0),
        vars={name: spec["kind"] for name, spec in data["vars"].items()},
        seeds=tuple(
            Seed(
                s["id"],
                s["split"],
                tuple((t["role"], t["content"]) for t in s["turns"]),
                s.get("plant", {}),
                {i: t["when"] for i, t in enumerate(s["turns"]) if "when" in t},
            )
            for s in data["seeds"]
        ),
        product=tuple(tuple(stage) for stage in transforms["product"]),
        apply=transforms.get("apply", "user"),
        limit=transforms["limit"],
        sample_seed=transforms["seed"],
        clauses=tuple(
            Clause(effect, _with_set(conditions, sets))
            for clause in data["assert"]
            for effect, conditions in clause.items()
        ),
        trials=data["trials"],
        bank_switch=data["bank"]["switch"],
        bank_overlaps=tuple(data["bank"]["overlaps"]),
        source=data["provenance"]["source"],
        licence=data["provenance"]["licence"],
        references=tuple(data["provenance"]["references"]),
        fix=data["fix"],
        tests=tuple(data["tests"]),
        sha256=digest("aispm.probe/1", canonical_json(data), *(canonical_json(sorted(s)) for s in sets.values())),
        path=path,
    )


def fold_name(name: str) -> str:
    """A name as sets compare it: without case, and with runs of `-`, `_` and `.` alike (PyPA name normalization)."""
    return re.sub(r"[-_.]+", "-", name.casefold())


def _read_sets(clauses: list[dict[str, Any]], path: Path) -> dict[str, frozenset[str]]:
    """The name lists that `in_set` clauses refer to: one name a line, `#` starts a comment. Built-in or beside."""
    found: dict[str, frozenset[str]] = {}
    for clause in clauses:
        for conditions in clause.values():
            name = conditions.get("in_set", {}).get("file")
            if name is not None:
                place = content_file(name, path)
                if place is None:
                    raise ConfigError(f"the set {name} does not exist", path, 1)
                lines = place.read_text(encoding="utf-8").splitlines()
                found[name] = frozenset(fold_name(line.strip()) for line in lines if line.strip() and line[0] != "#")
    return found


def _with_set(conditions: Mapping[str, Any], sets: Mapping[str, frozenset[str]]) -> Mapping[str, Any]:
    name = conditions.get("in_set", {}).get("file")
    if name is None:
        return conditions
    return {**conditions, "in_set": {**conditions["in_set"], "known": sets[name]}}


def content_file(name: str, family: Path) -> Path | None:
    """The file that a family names, a rubric or a set; own families may bring theirs beside the family or its group."""
    places = (family.parent / name, family.parent.parent / name, PROBES / name)
    return next((place for place in places if place.is_file()), None)


class _Lint:
    """The rules a schema cannot say."""

    def __init__(self, data: dict[str, Any], lines: Lines, path: Path) -> None:
        self._data = data
        self._lines = lines
        self._path = path
        self._searched = set(PLACEHOLDER.findall(canonical_json(data["assert"])))

    def _fail(self, problem: str, *at: str | int) -> ConfigError:
        while at and at not in self._lines:
            at = at[:-1]
        return ConfigError(problem, self._path, self._lines.get(at, 1))

    def run(self) -> None:
        data = self._data
        if data["id"] != self._path.stem:
            raise self._fail(f"the id `{data['id']}` is not the file's name `{self._path.stem}`; rename one", "id")
        if data["finding_kind"] != f"probe.{data['id']}":
            raise self._fail(f"the finding kind must be `probe.{data['id']}`", "finding_kind")
        self._seeds()
        self._transforms()
        self._clauses()
        self._tests()
        self._placeholders(data["seeds"], ("seeds",))
        self._placeholders(data["assert"], ("assert",))
        self._placeholders(data["tests"], ("tests",))

    def _seeds(self) -> None:
        seeds = self._data["seeds"]
        if self._data["provenance"]["source"] == ORIGINAL and len(seeds) < MIN_SEEDS:
            raise self._fail(f"needs at least {MIN_SEEDS} seeds; one wording is no attack idea", "seeds")
        seen: set[str] = set()
        for i, seed in enumerate(seeds):
            if seed["id"] in seen:
                raise self._fail(f"the seed id `{seed['id']}` occurs twice", "seeds", i, "id")
            seen.add(seed["id"])
            if seed["turns"][-1]["role"] != "user":
                raise self._fail("the last turn must be the user's", "seeds", i, "turns")
            if any("when" in t and (j == 0 or t["role"] == "assistant") for j, t in enumerate(seed["turns"])):
                raise self._fail("`when` belongs to a later turn of the user or a new session", "seeds", i, "turns")
            if any(t["role"] == NEW_SESSION for t in (seed["turns"][0], seed["turns"][-1])):
                raise self._fail("a new session starts between two turns", "seeds", i, "turns")
            self._plants(seed.get("plant", {}), i)
        if not any(s["split"] == "held_out" for s in seeds):
            raise self._fail("at least one seed must be `held_out`", "seeds")
        # A searched string that the attacker sends himself would come back in any polite refusal.
        for i, seed in enumerate(seeds):
            hidden = {k: v for k, v in seed.items() if k != "plant"}
            hidden |= {k: v for k, v in seed.get("plant", {}).items() if k == "baseline"}
            if "baseline" in hidden and {"documents", "mail"} & set(seed["plant"]):
                raise self._fail("a baseline cannot see planted documents or mail", "seeds", i, "plant")
            for turns in (*seed.get("plant", {}).get("sessions", ()), hidden.get("baseline", seed["turns"])):
                if turns[-1]["role"] != "user":
                    raise self._fail("the last turn must be the user's", "seeds", i, "plant")
            open_plant = {k: v for k, v in seed.get("plant", {}).items() if k != "system"}
            for name, spec in self._data["vars"].items():
                whole = re.compile(r"\{\{\s*" + name + r"\s*\}\}")
                if spec["kind"] == "training_record":
                    # Asking about a whole record is fine where no clause searches for it.
                    if not {name, f"{name}.rest"} & self._searched:
                        continue
                    whole = re.compile(r"\{\{\s*" + name + r"(?:\.rest)?\s*\}\}")
                places = [hidden, seed.get("plant", {})] if spec["kind"] == "canary_joined" else [hidden]
                if spec["kind"] == "canary_secret" and "mail" in open_plant:
                    places.append(open_plant["mail"])
                if spec["kind"] != "sink_url" and any(whole.search(canonical_json(p)) for p in places):
                    raise self._fail(
                        f"`{{{{ {name} }}}}` is searched for and must not be sent; use its halves", "seeds", i
                    )

    def _plants(self, plant: Mapping[str, Any], i: int) -> None:
        """What a tool's effect and listed values refer to must be arguments of that tool."""
        for j, tool in enumerate(plant.get("tools", ())):
            effect = tool.get("effect", {})
            for name in tool.get("values", {}):
                if name not in tool.get("parameters", {}):
                    problem = f"`{name}` is no parameter of `{tool['name']}`"
                    raise self._fail(problem, "seeds", i, "plant", "tools", j, "values")
            for part in ("key", "value"):
                if part in effect and effect[part] not in tool.get("parameters", {}):
                    raise self._fail(
                        f"the effect's {part} `{effect[part]}` is no parameter of `{tool['name']}`",
                        "seeds", i, "plant", "tools", j, "effect",
                    )  # fmt: skip

    def _transforms(self) -> None:
        for i, stage in enumerate(self._data["transforms"]["product"]):
            for j, name in enumerate(stage):
                if name not in TRANSFORMS:
                    known = ", ".join(sorted(TRANSFORMS))
                    raise self._fail(f"unknown transform `{name}`; known: {known}", "transforms", "product", i, j)

    def _clauses(self) -> None:
        stage = 0
        order = {"fail_if": 0, "pass_if": 1, "judge": 2}
        requires = self._data["requires"]
        for i, clause in enumerate(self._data["assert"]):
            if len(clause) != 1:
                raise self._fail("a clause is exactly one of fail_if, pass_if, judge", "assert", i)
            ((effect, conditions),) = clause.items()
            if order[effect] < stage:
                raise self._fail("every fail_if stands before any pass_if, and judge comes last", "assert", i)
            stage = order[effect]
            if effect == "judge":
                self._rubric(conditions["rubric"], i)
                continue
            if not conditions:
                raise self._fail("an empty condition would always hold", "assert", i)
            self._conditions(conditions, effect, i)
            if any(c in conditions for c in _TRACE_CONDITIONS) and not {"tool_trace", "client_tools"} & set(requires):
                raise self._fail("tool conditions need `tool_trace` or `client_tools` in requires", "assert", i)
            cites = {"rank", "retrieved_ids"} & set(conditions) or "retrieved" in conditions.get("differential", {})
            if cites and "citations" not in requires:
                raise self._fail("what was retrieved is only known with `citations` in requires", "assert", i)
            if "pattern" in conditions.get("differential", {}) and not all(
                "baseline" in s.get("plant", {}) for s in self._data["seeds"]
            ):
                raise self._fail("a pattern's differential needs a `baseline` planted in every seed", "assert", i)
            self._measured(conditions, i)
        if sum("judge" in clause for clause in self._data["assert"]) > 1:
            raise self._fail("one judge clause at most", "assert")

    def _conditions(self, conditions: Mapping[str, Any], effect: str, i: int) -> None:
        if effect == "pass_if" and conditions.get("complete") is not True:
            raise self._fail("a pass_if needs `complete: true`; an unfinished reply proves nothing", "assert", i)
        if "decoders" in conditions and "output_contains" not in conditions:
            raise self._fail("decoders belong to output_contains", "assert", i)
        if effect == "fail_if" and "refusal" in conditions and self._path.parent.name != "control":
            raise self._fail("a refusal is a failure in the control group only", "assert", i)
        if conditions.get("tool_called") == {}:
            raise self._fail("tool_called needs a name, name_match, args_match or args_regex", "assert", i)
        order = conditions.get("tool_order", {})
        if order and ("first" in order) is ("without" in order):
            raise self._fail("tool_order needs `then` and either `first` or `without`", "assert", i)
        self._parsed(conditions, i)
        if "differential" in conditions and len(conditions["differential"]) != 1:
            raise self._fail("a differential is exactly one of retrieved, pattern", "assert", i)
        if "in_set" in conditions:
            given = {"values", "file", "retrieved"} & set(conditions["in_set"])
            if len(given) != 1:
                raise self._fail("in_set needs exactly one of values, file, retrieved", "assert", i)
            name = conditions["in_set"].get("file")
            if name is not None and content_file(name, self._path) is None:
                raise self._fail(f"the set {name} does not exist", "assert", i)
        patterns = [
            *(order.get(part, {}).get("name_match") for part in ("first", "then", "without")),
            conditions.get("tool_count", {}).get("name_match"),
            conditions.get("tool_identity", {}).get("name_match"),
            conditions.get("undisclosed", {}).get("name_match"),
            conditions.get("state_diff", {}).get("key_match"),
            conditions.get("parsed", {}).get("tool_match"),
            conditions.get("ngram_overlap", {}).get("tool_match"),
            conditions.get("output_regex"),
            conditions.get("output_lacks"),
            conditions.get("differential", {}).get("pattern"),
            conditions.get("tool_called", {}).get("args_regex"),
            conditions.get("tool_called", {}).get("name_match"),
            conditions.get("in_set", {}).get("pattern"),
        ]
        for pattern in patterns:
            if pattern is not None:
                try:
                    re.compile(PLACEHOLDER.sub("x", pattern))
                except re.error as e:
                    raise self._fail(f"not a valid regular expression: {e}", "assert", i) from None

    def _measured(self, conditions: Mapping[str, Any], i: int) -> None:
        """What counts or compares needs the channel that it counts in, and the stores that it compares."""
        metering, diff = conditions.get("metering", {}), conditions.get("state_diff")
        if "tokens_out_over" in metering and "usage" not in self._data["requires"]:
            raise self._fail("metering needs `usage` in requires", "assert", i)
        if "unthrottled" in metering and not ("burst" in self._data["requires"] and self._data.get("burst")):
            raise self._fail("`unthrottled` needs `burst` in requires and a number in `burst`", "assert", i)
        if diff is not None:
            effects = [
                t["effect"] for s in self._data["seeds"] for t in s.get("plant", {}).get("tools", ()) if "effect" in t
            ]
            if not any(e["store"] == diff["store"] for e in effects):
                raise self._fail(f"no planted tool has an effect on the store `{diff['store']}`", "assert", i)

    def _parsed(self, conditions: Mapping[str, Any], i: int) -> None:
        """What reads tool arguments needs a trace; what reads the reply needs a string to look for."""
        traced = {"tool_trace", "client_tools"} & set(self._data["requires"])
        if (spec := conditions.get("parsed")) is not None:
            of_arguments = spec["as"] in ARGUMENT_READERS
            if of_arguments and not traced:
                raise self._fail(f"`{spec['as']}` reads tool calls: needs `tool_trace` or `client_tools`", "assert", i)
            if of_arguments and {"contains", "host"} & set(spec):
                raise self._fail(f"`{spec['as']}` takes tool_match and argument only", "assert", i)
            if not of_arguments and ("contains" not in spec or {"tool_match", "argument"} & set(spec)):
                raise self._fail(f"`{spec['as']}` reads the reply and needs `contains`, no tool", "assert", i)
        if (spec := conditions.get("ngram_overlap")) is not None:
            if spec["in"] == "arguments" and not traced:
                raise self._fail("overlap in arguments needs `tool_trace` or `client_tools` in requires", "assert", i)
            if spec["in"] == "reply" and {"tool_match", "argument"} & set(spec):
                raise self._fail("tool_match and argument belong to `in: arguments`", "assert", i)
            source = "tools" if spec["of"] == "results" else spec["of"]
            if not all(source in seed.get("plant", {}) for seed in self._data["seeds"]):
                raise self._fail(f"every seed must plant `{spec['of']}` to compare with", "assert", i)

    def _rubric(self, rubric: str, i: int) -> None:
        """Own families may bring their own rubrics folder beside the groups, or use the built-in ones."""
        if content_file(rubric, self._path) is None:
            raise self._fail(f"the rubric {rubric} does not exist", "assert", i)

    def _tests(self) -> None:
        kinds = {t["kind"] for t in self._data["tests"]}
        for kind in ("vulnerable", "hardened", "benign"):
            if kind not in kinds:
                raise self._fail(f"a selftest of kind `{kind}` is missing; every family proves all three", "tests")
        seeds = {s["id"] for s in self._data["seeds"]}
        for i, test in enumerate(self._data["tests"]):
            if test.get("seed", self._data["seeds"][0]["id"]) not in seeds:
                raise self._fail(f"no seed is called `{test['seed']}`", "tests", i, "seed")
        has_fail = any("fail_if" in clause for clause in self._data["assert"])
        for i, test in enumerate(self._data["tests"]):
            wanted = ("vulnerable",) if test["kind"] == "vulnerable" and has_fail else None
            if wanted and test["expect"] not in wanted:
                raise self._fail("a vulnerable selftest expects `vulnerable`", "tests", i)
            if test["kind"] != "vulnerable" and test["expect"] == "vulnerable":
                raise self._fail("only vulnerable selftests expect `vulnerable`", "tests", i)

    def _placeholders(self, value: Any, at: tuple[str | int, ...]) -> None:
        if isinstance(value, str):
            rest = PLACEHOLDER.sub("", value)
            if "{{" in rest or "{%" in rest:
                raise self._fail("placeholders are `{{ var }}` or `{{ var.part }}`, nothing else", *at)
            for name in PLACEHOLDER.findall(value):
                var, _, part = name.partition(".")
                kind = self._data["vars"].get(var, {}).get("kind")
                if kind is None:
                    raise self._fail(f"`{var}` is not declared in vars", *at)
                if part and part not in _PARTS[kind]:
                    raise self._fail(f"a {kind} has no part `{part}`", *at)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                self._placeholders(item, (*at, i))
        elif isinstance(value, dict):
            for key, item in value.items():
                self._placeholders(item, (*at, key))


def substitute(value: Any, values: Mapping[str, str], escape: Callable[[str], str] = str) -> Any:
    """`value` with every `{{ name }}` in its strings replaced."""
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda m: escape(values[m.group(1)]), value)
    if isinstance(value, list):
        return [substitute(v, values, escape) for v in value]
    if isinstance(value, Mapping):
        return {k: substitute(v, values, escape) for k, v in value.items()}
    return value
