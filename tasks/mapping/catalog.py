"""Frozen framework catalogues: every control by its key `framework@version:id`, checked against recorded hashes.

A key names its edition on purpose: OWASP renumbered its LLM list between 2025 and 2026, so a bare `LLM03` is an error
wherever it turns up.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError, VerificationError
from tasks.settings import CONTENT_ROOT

MAPPINGS = CONTENT_ROOT / "mappings"

SIX: Mapping[str, tuple[str, ...]] = {
    "owasp-llm": ("owasp-llm",),
    "owasp-asi": ("owasp-asi",),
    "nist": ("nist-ai-600-1", "nist-sp800-218a"),
    "mitre-atlas": ("mitre-atlas",),
    "eu-ai-act": ("eu-ai-act",),
    "iso-42001": ("iso-42001",),
}
"""The six required frameworks; AI 600-1 and SP 800-218A count as one. Order = order in reports."""

DEFAULT_EDITION: Mapping[str, str] = {
    "owasp-llm": "2025",
    "owasp-asi": "2026",
    "nist-ai-600-1": "2024-07",
    "nist-sp800-218a": "2024-07",
    "mitre-atlas": "2026.09",
    "eu-ai-act": "2026-07-27",
    "iso-42001": "2023",
}
"""The edition that mappings are written against; OWASP LLM 2026 is reached by projection."""

HEADINGS = frozenset(
    {"objective", "clause", "category", "function", "tactic", "practice", "practice_group", "gai_risk", "annex"}
)
"""Kinds of entry that group controls and are never evidence targets themselves."""

KEY = re.compile(r"^(?P<framework>[a-z0-9-]+)@(?P<version>[^:@\s]+):(?P<id>\S+)$")
_CONTROL_COLUMNS = ["control_key", "parent_key", "title", "kind", "url"]


@dataclass(frozen=True, slots=True)
class Control:
    """One entry of a catalogue edition: a control, or a heading above controls."""

    key: str
    framework: str
    version: str
    control_id: str
    parent_key: str | None
    title: str
    kind: str
    url: str
    assessable: bool
    """Whether reports count it: an entry of the six frameworks that is neither heading, note nor deleted."""
    applies_from: date | None = None
    """EU AI Act only: from when it applies to Annex III systems."""
    applies_from_annex_i: date | None = None
    superseded_by: str | None = None
    """Set when the entry was deleted; it is never assessed and never mapped."""
    caveat: str = ""


@dataclass(frozen=True, slots=True)
class Edition:
    """One frozen catalogue file."""

    framework: str
    version: str
    file: str
    sha256: str
    rows: int
    url: str
    publisher: str
    licence: str
    retrieved: date
    status: str
    """`current`, `superseded` or `provisional`."""
    notes: str

    @property
    def name(self) -> str:
        return f"{self.framework}@{self.version}"


@dataclass(frozen=True, slots=True)
class Edge:
    """One stated or derived relation between two controls."""

    edge_id: str
    a_key: str
    b_key: str
    relation: str
    grade: str
    source: str


@dataclass(frozen=True, slots=True)
class Catalogs:
    """All catalogues of one mappings folder, verified."""

    root: Path
    controls: Mapping[str, Control]
    editions: Mapping[str, Edition]
    """`framework@version` -> edition."""
    edges: tuple[Edge, ...]
    retired: Mapping[str, str]
    """Retired control id -> key that took its place."""
    sha256: str
    """Over the hashes of the catalogue files: changes when a control, a date or a retired id does."""
    mappings_sha256: str
    """Over every data file of the folder: changes when any mapping, theme, edge or catalogue does."""

    def find(self, key: str) -> Control:
        """The control of a full key.

        Raises ConfigError, with a suggestion where one is known, for a bare id, an unknown or a retired one.
        """
        control = self.controls.get(key)
        if control is not None:
            return control
        match = KEY.match(key)
        if match is None:
            options = [f"{e}:{key.replace(' ', '')}" for e in self.editions]
            options = sorted(k for k in options if k in self.controls)
            hint = f"; write {' or '.join(options)}" if options else self._near(key)
            raise ConfigError(f"`{key}` names no edition: a control key is framework@version:id{hint}")
        edition, control_id = f"{match['framework']}@{match['version']}", match["id"]
        if match["framework"] == "mitre-atlas" and control_id in self.retired:
            raise ConfigError(f"`{key}` is retired; write {self.retired[control_id]}")
        if edition not in self.editions:
            known = ", ".join(sorted(self.editions))
            raise ConfigError(f"`{key}`: there is no catalogue {edition}; known: {known}")
        raise ConfigError(f"`{key}` is not in {edition}{self._near(control_id, edition)}")

    def edition_of(self, key: str) -> Edition:
        """The catalogue that holds a known key."""
        return self.editions[key.partition(":")[0]]

    def _near(self, control_id: str, edition: str | None = None) -> str:
        if control_id in self.retired:
            return f"; it is retired, write {self.retired[control_id]}"
        pool = {c.control_id: c.key for c in self.controls.values() if edition in (None, f"{c.framework}@{c.version}")}
        fixed = repaired(control_id)
        return f"; did you mean {pool[fixed]}?" if fixed in pool else ""


_FUNCTIONS = {"GV": "GOVERN", "MP": "MAP", "MS": "MEASURE", "MG": "MANAGE"}


def repaired(control_id: str) -> str:
    """The catalogue's spelling of an id as printed elsewhere: `GV4.3--001` -> `GV-4.3-001`, `MS 2.7` -> `MEASURE2.7`.

    Other ids come back without spaces, nothing else changed.
    """
    text = control_id.strip().replace("\u2013", "-").replace("\u2011", "-").replace(" ", "")
    if m := re.fullmatch(r"(GV|MP|MS|MG)-*(\d+\.\d+)-+(\d{1,3})", text, re.IGNORECASE):
        return f"{m[1].upper()}-{m[2]}-{int(m[3]):03}"
    if m := re.fullmatch(r"(GV|MP|MS|MG)-*(\d+\.\d+)", text, re.IGNORECASE):
        return _FUNCTIONS[m[1].upper()] + m[2]
    if m := re.fullmatch(r"(LLM)[-_]?(\d{1,2})(?::\d{4})?|(ASI)[-_]?(\d{1,2})", text, re.IGNORECASE):
        return f"{(m[1] or m[3]).upper()}{int(m[2] or m[4]):02}"
    if m := re.fullmatch(r"(?:Article|Art\.?)(\d.*)", text, re.IGNORECASE):
        return f"Art.{m[1]}"
    return text


def load_catalogs(root: Path = MAPPINGS) -> Catalogs:
    """Read `catalogs.toml` and every file it names.

    Raises VerificationError naming the file whose bytes differ from the recorded SHA-256, ConfigError for a missing
    file, an unknown column, a repeated key, an edge to nowhere or a parent that does not exist.
    """
    manifest_path = root / "catalogs.toml"
    try:
        manifest = tomllib.loads(manifest_path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"cannot read the catalogue manifest: {e.strerror}", manifest_path) from None
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"not valid TOML: {e.args[0]}", manifest_path) from None
    data = {entry["name"]: entry for entry in manifest["data"]}
    dates = {r["control_key"]: r for r in _read(root, data["eu-ai-act-dates"])}
    history = _read(root, data["mitre-atlas-id-history"])
    editions: dict[str, Edition] = {}
    controls: dict[str, Control] = {}
    for entry in manifest["catalog"]:
        edition = Edition(**entry)
        editions[edition.name] = edition
        for row in _read(root, entry, _CONTROL_COLUMNS):
            control = _control(row, edition, dates.get(row["control_key"]))
            if control.key in controls or not control.key.startswith(edition.name + ":"):
                raise ConfigError(f"`{control.key}` is repeated or not of {edition.name}", root / edition.file)
            controls[control.key] = control
    parents = {c.parent_key for c in controls.values()}
    for key, control in controls.items():
        if control.kind == "article" and key in parents:  # its paragraphs are what can be met or not
            controls[key] = replace(control, assessable=False)
    for control in controls.values():
        for other in (control.parent_key, control.superseded_by):
            if other is not None and other not in controls:
                raise ConfigError(f"`{control.key}` points to `{other}`, which no catalogue holds", manifest_path)
    edges = tuple(_edge(row, controls, root / "edges.csv", n) for n, row in enumerate(_read(root, data["edges"]), 2))
    retired = {r["old_key"].partition(":")[2]: r["control_key"] for r in history if r["change"] == "retired"}
    retired |= {c.control_id: c.superseded_by for c in controls.values() if c.superseded_by}
    frozen = [*manifest["catalog"], data["eu-ai-act-dates"], data["mitre-atlas-id-history"]]
    written = [root / "edges.csv", *root.glob("*.yaml"), *root.glob("kinds/*.yaml")]
    names = [f"{entry['file']} {entry['sha256']}" for entry in frozen]
    more = [f"{p.relative_to(root).as_posix()} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in written]
    return Catalogs(root, controls, editions, edges, retired, _name(names), _name(names + more))


def _name(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _read(root: Path, entry: Mapping[str, Any], columns: Sequence[str] | None = None) -> list[dict[str, str]]:
    path = root / entry["file"]
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"cannot read the catalogue file: {e.strerror}", path) from None
    if hashlib.sha256(raw).hexdigest() != entry["sha256"]:
        raise VerificationError(
            f"{path}: the bytes differ from the SHA-256 in catalogs.toml; restore the file or record a new version"
        )
    reader = csv.DictReader(io.StringIO(raw.decode("utf-8")))
    rows = list(reader)
    if columns is not None and reader.fieldnames != list(columns):
        raise ConfigError(f"columns must be {','.join(columns)}", path, 1)
    if len(rows) != entry["rows"]:
        raise VerificationError(f"{path}: {len(rows)} rows, catalogs.toml records {entry['rows']}")
    return rows


def _control(row: Mapping[str, str], edition: Edition, dates: Mapping[str, str] | None) -> Control:
    key, kind = row["control_key"], row["kind"]
    superseded = (dates or {}).get("superseded_by") or None
    counted = (
        any(edition.framework in parts for parts in SIX.values())
        and edition.status != "superseded"
        and kind not in HEADINGS
        and superseded is None
        # Of 600-1 the actions count, not the AI RMF subcategories above them; notes of 218A ask for nothing.
        and (edition.framework, kind) not in (("nist-ai-600-1", "subcategory"), ("nist-sp800-218a", "note"))
    )
    return Control(
        key=key,
        framework=edition.framework,
        version=edition.version,
        control_id=key.partition(":")[2],
        parent_key=row["parent_key"] or None,
        title=row["title"],
        kind=kind,
        url=row["url"],
        assessable=counted,
        applies_from=date.fromisoformat(dates["applies_from"]) if dates else None,
        applies_from_annex_i=date.fromisoformat(dates["applies_from_annex_i"]) if dates else None,
        superseded_by=superseded,
        caveat=dates["caveat"] if dates else "",
    )


GRADES = ("official", "third_party", "derived", "project")
"""Best first: who states the pair. A publisher of one side, somebody else, a rule, our own judgement."""
RELATIONS = ("equal", "subset_of", "superset_of", "intersects_with")
"""Of NIST IR 8477; a source that does not say which gets `intersects_with`."""


def _edge(row: Mapping[str, str], controls: Mapping[str, Control], path: Path, line: int) -> Edge:
    for key in (row["a_key"], row["b_key"]):
        if key not in controls:
            raise ConfigError(f"`{key}` is in no catalogue", path, line)
    if row["grade"] not in GRADES or row["relation"] not in RELATIONS or not row["source"]:
        raise ConfigError("an edge needs a grade, a relation and a source", path, line)
    return Edge(row["edge_id"], row["a_key"], row["b_key"], row["relation"], row["grade"], row["source"])


def control_rows(catalogs: Catalogs, run_id: str) -> list[dict[str, Any]]:
    """Rows of lake table `controls`, one per control of every edition."""
    return [
        {
            "control_key": c.key,
            "catalog_sha256": catalogs.edition_of(c.key).sha256,
            "run_id": run_id,
            "framework": c.framework,
            "version": c.version,
            "control_id": c.control_id,
            "parent_key": c.parent_key,
            "title": c.title,
            "kind": c.kind,
            "url": c.url,
            "assessable": c.assessable,
            "applies_from": c.applies_from,
            "applies_from_annex_i": c.applies_from_annex_i,
        }
        for c in catalogs.controls.values()
    ]
