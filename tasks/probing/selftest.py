"""Replay every family's own examples through the detectors, without any server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.probing.catalog import PLACEHOLDER, Family, substitute
from tasks.probing.detectors import Context, contains, evaluate
from tasks.probing.expand import fixed_values, render, templates
from tasks.records import ToolCall, Verdict, canonical_json
from tasks.targets.target import Burst, Citation, Reply

FOREIGN_DOCUMENT = "foreign-document"
"""How selftests name a document that another tenant planted; its chunks are `foreign-document#0` and so on."""
OWN_DOCUMENT = "own-document"
"""Likewise one of the asking tenant's own; where a seed plants several they are `own-document2` and so on."""
FOREIGN_TENANT = "foreign"
_DECODERS = ("plain", "nfkc", "base64", "rot13", "hex", "reverse")


@dataclass(frozen=True, slots=True)
class SelftestResult:
    family_id: str
    kind: str
    name: str
    expected: Verdict
    actual: Verdict
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.expected == self.actual


def run_selftests(families: Mapping[str, Family]) -> list[SelftestResult]:
    """One result per selftest, and one more per family whose requests hold the string it searches for."""
    return [result for family in families.values() for result in (*replay(family), *echoes(family))]


def replay(family: Family) -> list[SelftestResult]:
    values = fixed_values(family)
    most = max(sum(d["tenant"] == "own" for d in s.plant.get("documents", ())) for s in family.seeds)
    own = tuple(OWN_DOCUMENT + (str(n) if n > 1 else "") for n in range(1, most + 1))
    results = []
    for test in family.tests:
        seed = family.seed(test["seed"]) if "seed" in test else family.seeds[0]
        plant = substitute(dict(seed.plant), values)
        context = Context(values, (FOREIGN_DOCUMENT,), own, frozenset({FOREIGN_TENANT}), plant=plant)
        actual = evaluate(family, _reply(substitute(dict(test), values)), context).verdict
        results.append(SelftestResult(family.family_id, test["kind"], test["name"], Verdict(test["expect"]), actual))
    return results


def _reply(test: Mapping[str, Any]) -> Reply:
    control = Reply(text=test["control"], finish="stop", citations=()) if "control" in test else None
    baseline = Reply(text=test["baseline"], finish="stop") if "baseline" in test else None
    citations = tuple(Citation(c["id"], c.get("tenant"), c.get("turn", 0)) for c in test.get("citations", ()))
    burst = test.get("burst")
    said: list[str] = []
    offsets = []
    for call in test.get("trace", ()):
        said += [call["said"]] if "said" in call else []
        offsets.append(len("\n\n".join(said)))
    said += [test["reply"]] if test.get("reply") else []
    return Reply(
        text="\n\n".join(said),
        said_before=tuple(offsets),
        state=test.get("state"),
        burst=None if burst is None else Burst(burst["sent"], burst["throttled"], burst["announced"]),
        tool_calls=tuple(ToolCall(c["name"], c["arguments"], c.get("result")) for c in test.get("trace", ())),
        finish=test.get("finish", "stop"),
        tokens_out=test.get("tokens_out", 20),
        citations=citations,
        control=control,
        baseline=baseline,
        error_kind=test.get("error_kind"),
    )


def echoes(family: Family) -> list[SelftestResult]:
    """Templates whose own words already hold a searched token under some decoder, so that an echo would be a hit."""
    values = fixed_values(family)
    searched = {n for clause in family.clauses for n in PLACEHOLDER.findall(str(dict(clause.conditions)))}
    bad = []
    for template in templates(family):
        rendered = render(family, family.seed(template.seed_id), template.transforms, values)
        said = [content for _, content in rendered.turns]
        said += [turn["content"] for turn in rendered.plant.get("baseline", ())]
        planted = canonical_json(rendered.plant)
        for name, kind in family.vars.items():
            places = said if kind == "canary_secret" else [*said, planted]
            if kind == "training_record":
                whole, places = f"{name}.rest", said if {name, f"{name}.rest"} & searched else []
            else:
                whole = name
            if kind != "sink_url" and any(contains(p, values[whole], _DECODERS) for p in places):
                bad.append(f"{template.seed_id}+{'+'.join(template.transforms)}")
    if not bad:
        return []
    note = f"the searched token is in the request: {', '.join(bad[:3])}"
    return [SelftestResult(family.family_id, "benign", "echo", Verdict.RESISTANT, Verdict.VULNERABLE, note)]
