"""From a finding kind to its controls, and from all kinds to the overlaps between frameworks.

An edge says "counts as evidence toward", never "satisfies". No edge exists without relation, grade and rationale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.mapping.catalog import DEFAULT_EDITION, GRADES, SIX, Catalogs, Edge
from tasks.mapping.themes import Document, Theme, group_of, load_themes, read_document
from tasks.records import ControlLink, canonical_json, digest

KIND = re.compile(r"^(check\.[A-Z]{3}-\d{2,3}|probe\.[a-z0-9_]+)$")
MIN_CELLS = 4
"""Frameworks of a published theme that one finding kind has to touch."""


@dataclass(frozen=True, slots=True)
class KindMapping:
    """The mapping of one finding kind."""

    kind: str
    """`check.<CHECK_ID>` or `probe.<family_id>`."""
    themes: tuple[str, ...]
    links: tuple[ControlLink, ...]
    """Written edges, then their projection onto OWASP LLM 2026, then frameworks stated as not applicable."""

    def keys(self) -> frozenset[str]:
        """Controls of the default editions that the kind is evidence for."""
        return frozenset(link.control_key for link in self.links if link.relation != "none" and not _projected(link))


def _projected(link: ControlLink) -> bool:
    edition = link.control_key.partition(":")[0]
    return edition != f"{link.framework}@{DEFAULT_EDITION[link.framework]}"


def load_kinds(catalogs: Catalogs, root: Path | None = None, own: Path | None = None) -> dict[str, KindMapping]:
    """Every finding kind of `kinds/*.yaml` in `root`, by default the folder of the catalogues, and of the file `own`.

    Raises ConfigError with path and line for an unknown key or theme, an unknown, bare, retired or heading control, an
    empty rationale, a kind mapped twice, or a framework of the six that has neither a control nor a reason.
    """
    root = root or catalogs.root
    themes = load_themes(catalogs, root)
    steps = [
        e for e in catalogs.edges if e.a_key.startswith("owasp-llm@2025:") and e.b_key.startswith("owasp-llm@2026:")
    ]
    kinds: dict[str, KindMapping] = {}
    for path in [*sorted((root / "kinds").glob("*.yaml")), *([own] if own is not None and own.is_file() else [])]:
        doc = read_document(path)
        top = doc.fields(doc.data, {"reviewer", "kinds"}, {"reviewer", "kinds"})
        doc.text(top["reviewer"], "reviewer")
        for kind, entry in doc.fields(top["kinds"], set(top["kinds"] or ()), set(), "kinds").items():
            if not KIND.match(kind):
                raise doc.error(f"`{kind}` is not a finding kind: write check.<ID> or probe.<family>", "kinds", kind)
            if kind in kinds:
                raise doc.error(f"`{kind}` is mapped in another file too", "kinds", kind)
            kinds[kind] = _kind(doc, kind, entry, catalogs, themes, steps)
    return kinds


def _kind(
    doc: Document, kind: str, entry: Any, catalogs: Catalogs, themes: Mapping[str, Theme], steps: Sequence[Edge]
) -> KindMapping:
    at = ("kinds", kind)
    doc.fields(entry, {"themes", "controls", "none"}, {"themes"}, *at)
    if not isinstance(entry["themes"], list):
        raise doc.error("`themes` is a list", *at, "themes")
    rationale: dict[str, str] = {}
    none: dict[str, str] = {}
    for n, theme_id in enumerate(entry["themes"]):
        theme = themes.get(str(theme_id))
        if theme is None:
            raise doc.error(f"there is no theme `{theme_id}` in themes.yaml", *at, "themes", n)
        for key in theme.keys:
            rationale.setdefault(key, theme.rationale)
        none |= theme.none
    explicit = entry.get("controls", {})
    if not isinstance(explicit, dict):
        raise doc.error("`controls` maps a control key to the reason", *at, "controls")
    for key, reason in explicit.items():
        control = doc.control(catalogs, key, *at, "controls", key)
        rationale[control.key] = doc.text(reason, *at, "controls", key)
    own = doc.reasons(entry.get("none", {}), *at, "none")
    covered = {group_of(catalogs.controls[key].framework) for key in rationale}
    for group in SIX:
        if group in own and group in covered:
            raise doc.error(f"`{group}` has controls and a reason for having none", *at, "none", group)
        if group not in covered and group not in (none | own):
            raise doc.error(f"`{kind}` maps to no control of {group}; add one, or a reason under `none`", *at)
    links = [_link(catalogs, kind, key, "intersects_with", "project", why) for key, why in rationale.items()]
    links += [
        _link(catalogs, kind, e.b_key, "intersects_with", "derived", f"Projected from {e.a_key} by edge {e.edge_id}.")
        for e in steps
        if e.a_key in rationale
    ]
    for group in SIX:
        if group not in covered:
            for framework in SIX[group]:
                key = f"{framework}@{DEFAULT_EDITION[framework]}:none"
                links.append(_link(catalogs, kind, key, "none", "project", (none | own)[group]))
    return KindMapping(kind, tuple(map(str, entry["themes"])), tuple(links))


def _link(catalogs: Catalogs, kind: str, key: str, relation: str, grade: str, rationale: str) -> ControlLink:
    edition = catalogs.edition_of(key)
    # Named by content: an edge whose rationale or grade changed is another edge.
    edge_id = "k-" + digest(kind, key, edition.sha256, relation, grade, rationale)[:16]
    return ControlLink(key, edition.framework, edition.sha256, relation, grade, edge_id, rationale)


def links(kind: KindMapping) -> tuple[ControlLink, ...]:
    """The stamps of one finding kind, `none` rows included."""
    return kind.links


def kind_control_rows(kinds: Mapping[str, KindMapping]) -> list[dict[str, Any]]:
    """Rows of lake table `kind_controls` without `run_id`: the whole mapping in force, to be committed as one batch."""
    return [{"finding_kind": kind.kind, **_columns(link)} for kind in kinds.values() for link in kind.links]


def finding_control_rows(
    findings: Iterable[Mapping[str, Any]], kinds: Mapping[str, KindMapping], run_id: str, stamped_at: datetime
) -> list[dict[str, Any]]:
    """Rows of lake table `finding_controls` for rows with `finding_id` and `finding_kind`.

    Raises ConfigError for a kind without a mapping: a finding that counts toward nothing is a gap in `kinds/`.
    """
    rows: list[dict[str, Any]] = []
    for finding in findings:
        kind = kinds.get(finding["finding_kind"])
        if kind is None:
            raise ConfigError(f"finding kind `{finding['finding_kind']}` has no mapping; add it to mappings/kinds/")
        stamp = {"finding_id": finding["finding_id"], "run_id": run_id, "stamped_at": stamped_at}
        rows.extend({**stamp, **_columns(link)} for link in kind.links)
    return rows


def _columns(link: ControlLink) -> dict[str, Any]:
    return {
        "control_key": link.control_key,
        "catalog_sha256": link.catalog_sha256,
        "framework": link.framework,
        "relation": link.relation,
        "grade": link.grade,
        "edge_id": link.edge_id,
        "rationale": link.rationale,
    }


# -- overlaps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grading:
    """How well a pair of controls is sourced."""

    grade: str
    via: str
    """`exact`, `rollup` (through a parent or sub-technique), `succession` (through another OWASP edition) or `none`."""
    sources: tuple[str, ...]


class Grader:
    """Grades pairs by the sourced crosswalk: best exact edge, else derived by roll-up, else project."""

    def __init__(self, catalogs: Catalogs, edges: Sequence[Edge]) -> None:
        self._catalogs = catalogs
        self._edges: dict[frozenset[str], list[Edge]] = {}
        self._subs: dict[str, list[str]] = {}
        self._steps: dict[str, list[str]] = {}
        self._wide: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for edge in edges:
            self._edges.setdefault(frozenset((edge.a_key, edge.b_key)), []).append(edge)
            if {edge.a_key[:15], edge.b_key[:15]} == {"owasp-llm@2025:", "owasp-llm@2026:"}:
                self._steps.setdefault(edge.a_key, []).append(edge.b_key)
                self._steps.setdefault(edge.b_key, []).append(edge.a_key)
        for control in catalogs.controls.values():
            if control.kind == "sub_technique" and control.parent_key:
                self._subs.setdefault(control.parent_key, []).append(control.key)

    def grade(self, a: str, b: str) -> Grading:
        if exact := self._edges.get(frozenset((a, b))):
            best = min(exact, key=lambda e: GRADES.index(e.grade))
            return Grading(best.grade, "exact", _sources(exact))
        for via in ("rollup", "succession"):
            found = [
                edge
                for x in self._reach(a, via)
                for y in self._reach(b, via)
                for edge in self._edges.get(frozenset((x, y)), ())
            ]
            if found:
                return Grading("derived", via, _sources(found))
        return Grading("project", "none", ())

    def _reach(self, key: str, via: str) -> tuple[str, ...]:
        """The key, what it rolls up to, and with `succession` also the other OWASP edition."""
        if key not in self._wide:
            rolled = self._rolled(key)
            self._wide[key] = rolled, (*rolled, *(other for k in rolled for other in self._steps.get(k, ())))
        return self._wide[key][via == "succession"]

    def _rolled(self, key: str) -> tuple[str, ...]:
        control = self._catalogs.controls[key]
        parent = control.parent_key
        match control.framework, control.kind:
            case "nist-ai-600-1", "action" if parent:  # the subcategory is listed in both NIST documents
                return key, parent, "nist-ai-rmf@2023-01:" + parent.partition(":")[2]
            case "nist-ai-600-1", "subcategory":
                return key, "nist-ai-rmf@2023-01:" + control.control_id
            case "nist-sp800-218a", "recommendation" | "consideration" | "note" if parent:
                return key, parent
            case "mitre-atlas", "sub_technique" if parent:
                return key, parent
            case "mitre-atlas", "technique":
                return (key, *self._subs.get(key, ()))
            case "eu-ai-act", _:
                chain = [key]
                while parent is not None:
                    chain.append(parent)
                    parent = self._catalogs.controls[parent].parent_key
                return tuple(chain)
        return (key,)


def _sources(edges: Iterable[Edge]) -> tuple[str, ...]:
    return tuple(sorted({f"{e.edge_id} {e.source}" for e in edges}))


def published_themes(catalogs: Catalogs) -> dict[str, Theme]:
    """The themes of `overlaps.yaml`. Raises ConfigError with path and line for unknown or repeated ones."""
    themes = load_themes(catalogs, catalogs.root)
    doc = read_document(catalogs.root / "overlaps.yaml")
    names = {"reviewer", "reviewed_on", "themes"}
    top = doc.fields(doc.data, names, names)
    doc.text(top["reviewer"], "reviewer")
    out: dict[str, Theme] = {}
    for n, theme_id in enumerate(top["themes"]):
        theme = themes.get(theme_id)
        if theme is None or theme.profile:
            raise doc.error(f"`{theme_id}` is not a theme of themes.yaml", "themes", n)
        if theme_id in out:
            raise doc.error(f"`{theme_id}` is listed twice", "themes", n)
        out[theme_id] = theme
    return out


def overlaps(
    catalogs: Catalogs,
    kinds: Mapping[str, KindMapping],
    edges: Sequence[Edge],
) -> list[dict[str, Any]]:
    """Pairs of controls of different frameworks in a published theme, as rows of `control_overlaps` without `run_id`.

    A pair is a row when at least one finding kind is evidence for both. Raises ConfigError when no kind touches four
    frameworks of a published theme: nothing measured would stand behind it.
    """
    grader = Grader(catalogs, edges)
    keys_of = {name: kind.keys() for name, kind in kinds.items()}
    gradings: dict[tuple[str, str], Grading] = {}
    rows: list[dict[str, Any]] = []
    for theme in published_themes(catalogs).values():
        cells = set(theme.keys)
        touching = {name: keys & cells for name, keys in keys_of.items() if keys & cells}
        widest = max((_frameworks(keys) for keys in touching.values()), default=0)
        if widest < MIN_CELLS:
            raise ConfigError(
                f"overlap {theme.theme_id} is reproduced by no finding kind: the best touches {widest} of {MIN_CELLS} "
                "frameworks; map a kind to it in kinds/ or take it off the list",
                catalogs.root / "overlaps.yaml",
            )
        for a, b in combinations(theme.keys, 2):
            if a.partition("@")[0] == b.partition("@")[0]:
                continue
            behind = sorted(name for name, keys in touching.items() if a in keys and b in keys)
            if not behind:
                continue
            if (a, b) not in gradings:
                gradings[a, b] = grader.grade(a, b)
            g = gradings[a, b]
            rows.append(
                {
                    "overlap_id": f"{theme.theme_id}-{digest(a, b)[:12]}",
                    # A pair depends on the kinds as well, so it is named by all files of the mappings folder.
                    "catalogs_sha256": catalogs.mappings_sha256,
                    "theme": f"{theme.theme_id} {theme.name}",
                    "a_key": a,
                    "b_key": b,
                    "kinds": canonical_json(behind),
                    "grade": g.grade,
                    "via": g.via,
                    "sources": canonical_json(list(g.sources)),
                }
            )
    return rows


def overlap_rows(catalogs: Catalogs, kinds: Mapping[str, KindMapping]) -> list[dict[str, Any]]:
    """`overlaps` over the shipped crosswalk."""
    return overlaps(catalogs, kinds, catalogs.edges)


def _frameworks(keys: Iterable[str]) -> int:
    return len({key.partition("@")[0] for key in keys})


def counts(catalogs: Catalogs, kinds: Mapping[str, KindMapping]) -> dict[str, int]:
    """What the mappings hold: the six `frameworks`, `catalogues`, `controls` that reports count, `mapping_edges`
    (finding kind to control, written and projected), sourced `crosswalk_edges` and published `overlaps`."""
    return {
        "frameworks": len(SIX),
        "catalogues": len(catalogs.editions),
        "controls": sum(c.assessable for c in catalogs.controls.values()),
        "mapping_edges": sum(link.relation != "none" for kind in kinds.values() for link in kind.links),
        "crosswalk_edges": len(catalogs.edges),
        "overlaps": len(published_themes(catalogs)),
    }
