"""Seeds times transforms: the distinct templates of a family, and one template rendered with an attempt's canaries."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.probing.catalog import Family, Seed, substitute
from tasks.probing.sessions import record_values
from tasks.probing.transforms import TRANSFORMS
from tasks.records import canonical_json, digest

FIXED_KEY = b"aispm.probe/1 fixed canary"
"""For hashes and selftests: a template must hash alike in every campaign."""


@dataclass(frozen=True, slots=True)
class Template:
    """One distinct rendered attack of a family."""

    family_id: str
    seed_id: str
    split: str
    transforms: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """An attack with its canaries in place."""

    turns: tuple[tuple[str, str], ...]
    plant: Mapping[str, Any]
    when: Mapping[int, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        turns = [{"role": role, "content": content} for role, content in self.turns]
        for i, condition in self.when.items():
            turns[i]["when"] = condition
        return digest("aispm.template/1", canonical_json({"turns": turns, "plant": self.plant}))


def canary_values(family: Family, key: bytes, attempt_id: str) -> dict[str, str]:
    """The values of a family's variables for one attempt: the same on resume, new in every campaign."""
    values: dict[str, str] = {}
    for name, kind in family.vars.items():
        mac = hmac.new(key, f"{attempt_id}/{name}".encode(), hashlib.sha256).digest()
        token = base64.b32encode(mac[:10]).decode()[:12]
        if kind == "sink_url":
            values[f"{name}.host"] = f"{token.lower()}.sink.example"  # RFC 2606: reaches nobody
            values[name] = f"https://{values[f'{name}.host']}/p"
            continue
        if kind == "training_record":
            # Stands in for the record that a target declares, so that templates hash alike everywhere.
            values |= record_values(name, "The record of the blue harbour is filed under ", token, mac)
            continue
        values[name] = token
        if kind == "canary_joined":
            values[f"{name}.a"], values[f"{name}.b"] = token[:6], token[6:]
    return values


def fixed_values(family: Family) -> dict[str, str]:
    return canary_values(family, FIXED_KEY, "template")


def render(family: Family, seed: Seed, transforms: Sequence[str], values: Mapping[str, str]) -> Rendered:
    """Fill in the canaries, then disguise the part of the attack that the family names in `transforms.apply`."""
    keep = [v for name, v in values.items() if not (name in family.vars and family.vars[name] == "canary_joined")]

    def disguise(text: str) -> str:
        for name in transforms:
            text = TRANSFORMS[name](text, keep)
        return text

    turns = [(role, str(substitute(content, values))) for role, content in seed.turns]
    plant: dict[str, Any] = substitute(dict(seed.plant), values)
    match family.apply:
        case "user":
            turns[-1] = ("user", disguise(turns[-1][1]))
            if "baseline" in plant:  # or the disguise would count as a difference
                *first, last = plant["baseline"]
                plant["baseline"] = [*first, {**last, "content": disguise(last["content"])}]
        case "system":
            plant["system"] = disguise(plant["system"])
        case "tool_description":
            plant["tools"][0]["description"] = disguise(plant["tools"][0]["description"])
        case "later_description":
            plant["tools"][0]["later_description"] = disguise(plant["tools"][0]["later_description"])
        case "tool_result":
            plant["tools"][0]["result"] = disguise(plant["tools"][0]["result"])
        case "mail":
            plant["mail"][0]["body"] = disguise(plant["mail"][0]["body"])
        case "image":
            plant["images"][0]["text"] = disguise(plant["images"][0]["text"])
        case "session":
            *first, last = plant["sessions"][0]
            plant["sessions"][0] = [*first, {**last, "content": disguise(last["content"])}]
        case "document":
            plant["documents"][0]["text"] = disguise(plant["documents"][0]["text"])
    return Rendered(tuple(turns), plant, seed.when)


def templates(family: Family) -> list[Template]:
    """The distinct templates of a family, in a fixed order; products that change nothing are left out."""
    values = fixed_values(family)
    found: dict[str, Template] = {}
    rng = random.Random(family.sample_seed)  # noqa: S311  # a reproducible choice, not a secret
    for seed in family.seeds:
        products = list(itertools.product(*family.product))
        if len(products) > family.limit:
            first, rest = products[0], products[1:]
            products = [first, *rng.sample(rest, family.limit - 1)]
        for product in products:
            chain = tuple(name for name in product if name != "identity")
            sha = render(family, seed, chain, values).sha256
            found.setdefault(sha, Template(family.family_id, seed.seed_id, seed.split, chain, sha))
    return list(found.values())


def count(families: Mapping[str, Family]) -> dict[str, int]:
    """Families, seeds, distinct templates and selftests, counted and not claimed.

    `folded` = templates left when case and white space are ignored; `held_out` = seeds kept from tuning.
    """
    distinct: set[str] = set()
    folded: set[str] = set()
    for family in families.values():
        values = fixed_values(family)
        for template in templates(family):
            distinct.add(template.sha256)
            rendered = render(family, family.seed(template.seed_id), template.transforms, values)
            plain = canonical_json([list(map(list, rendered.turns)), rendered.plant])
            folded.add(digest(" ".join(plain.casefold().split())))
    seeds = [s for f in families.values() for s in f.seeds]
    return {
        "families": len(families),
        "seeds": len(seeds),
        "held_out": sum(s.split == "held_out" for s in seeds),
        "templates": len(distinct),
        "folded": len(folded),
        "selftests": sum(len(f.tests) for f in families.values()),
    }
