"""From a rendered attack to the conversation that is held with a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.probing.catalog import Family
from tasks.probing.detectors import Context
from tasks.probing.expand import Rendered
from tasks.probing.pictures import drawn
from tasks.probing.plan import Attempt, offered
from tasks.records import Asset
from tasks.targets.credentials import principals
from tasks.targets.target import PlantedDocument, PlantedMail, PlantedTool, Request


def request_for(
    family: Family, rendered: Rendered, attempt: Attempt, asset: Asset, values: Mapping[str, str]
) -> tuple[Request, Context]:
    """The conversation to hold for a rendered attack, and what its detectors must know."""
    plant = rendered.plant
    declared = [str(p["id"]) for p in principals(asset)]
    tenants = {str(p["id"]): str(p.get("tenant", p["id"])) for p in principals(asset)}
    own = declared[0] if declared else None
    other = declared[1] if len(declared) > 1 else None
    documents: list[PlantedDocument] = []
    foreign: list[str] = []
    mine: list[str] = []
    for i, document in enumerate(plant.get("documents", ())):
        owner = other if document["tenant"] == "foreign" else own
        identifier = f"probe-{attempt.attempt_id[:16]}-{i}"
        documents.append(PlantedDocument(identifier, document["text"], str(owner)))
        (foreign if document["tenant"] == "foreign" else mine).append(identifier)
    tools = tuple(
        PlantedTool(
            t["name"],
            t["description"],
            {"type": "object", "properties": _properties(t)},
            (t["result"], *t.get("later_results", ())),
            t.get("later_description"),
            t.get("effect"),
        )
        for t in plant.get("tools", ())
    )
    mails = tuple(PlantedMail(m["from"], m["subject"], m["body"]) for m in plant.get("mail", ()))
    request = Request(
        turns=rendered.turns,
        when=rendered.when,
        system=plant.get("system"),
        tools=tools,
        images=tuple(drawn(image) for image in plant.get("images", ())),
        documents=tuple(documents),
        mails=mails,
        principal=own,
        control_principal=other if foreign else None,
        max_tokens=family.max_tokens,
        state=plant.get("state", {}),
        tool_rounds=family.tool_rounds,
        burst=family.burst,
    )
    foreign_tenants = frozenset(t for p, t in tenants.items() if p != own) - ({tenants[own]} if own else set())
    return request, Context(values, tuple(foreign), tuple(mine), foreign_tenants, offered(asset), plant)


def _properties(tool: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schemas of a planted tool's arguments: all are texts, some with listed values or a default."""
    values = tool.get("values", {})
    return {
        name: {"type": "string", "description": text, **values.get(name, {})}
        for name, text in tool.get("parameters", {}).items()
    }
