"""Facts read from relationships: what an agent reaches, who mounts what, who shares an identity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.assessment.mcp_tools import capabilities, irreversible
from tasks.records import Asset, AssetKind

MAX_DEPTH = 6
"""Hops from an agent that count as its reach."""
FORWARD = frozenset(
    {
        "uses",
        "bundles",
        "mounts",
        "exposes",
        "calls",
        "delegates_to",
        "retrieves_from",
        "indexes",
        "routes_to",
        "runs_as",
    }
)
TRIFECTA = ("private", "untrusted", "egress")
"""Simon Willison, "The lethal trifecta for AI agents" (2025)."""
_SENSITIVE = frozenset({"pii", "confidential", "secret", "payment", "health", "restricted"})
_CLIENTS = (AssetKind.AGENT, AssetKind.AI_APPLICATION, AssetKind.LLM_ENDPOINT)


@dataclass(frozen=True, slots=True)
class Graph:
    assets: Mapping[str, Asset]
    out: Mapping[str, Sequence[tuple[str, str]]]
    """asset id -> (relation, asset id)."""
    into: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)

    def targets(self, asset_id: str, *kinds: AssetKind) -> list[Asset]:
        found = {end for _, end in self.out.get(asset_id, ()) if end in self.assets}
        return [self.assets[i] for i in sorted(found) if not kinds or self.assets[i].kind in kinds]

    def origins(self, asset_id: str, *kinds: AssetKind) -> list[Asset]:
        found = {end for _, end in self.into.get(asset_id, ()) if end in self.assets}
        return [self.assets[i] for i in sorted(found) if not kinds or self.assets[i].kind in kinds]

    def reach(self, asset_id: str) -> list[Asset]:
        """Everything within MAX_DEPTH forward hops, the start included; cycles are walked once."""
        seen = {asset_id}
        edge = [asset_id]
        for _ in range(MAX_DEPTH):
            edge = sorted(
                {end for i in edge for rel, end in self.out.get(i, ()) if rel in FORWARD and end in self.assets} - seen
            )
            seen.update(edge)
        return [self.assets[i] for i in sorted(seen)]


def build(assets: Iterable[Asset], edges: Iterable[Mapping[str, Any]]) -> Graph:
    known = {asset.asset_id: asset for asset in assets}
    out: dict[str, list[tuple[str, str]]] = defaultdict(list)
    into: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for edge in edges:
        if edge["src_id"] in known and edge["dst_id"] in known:
            out[edge["src_id"]].append((edge["rel"], edge["dst_id"]))
            into[edge["dst_id"]].append((edge["rel"], edge["src_id"]))
    return Graph(known, out, into)


def asset_capabilities(asset: Asset) -> set[str]:
    """Capabilities of a tool or of a store that an agent reads."""
    found: set[str] = set()
    props = asset.props
    if isinstance(props.get("capabilities"), list):
        found |= {str(c) for c in props["capabilities"]}
    if asset.kind == AssetKind.TOOL and isinstance(props.get("definition"), Mapping):
        found |= capabilities(props["definition"])
    if asset.kind in (AssetKind.DATA_SOURCE, AssetKind.RAG_SYSTEM, AssetKind.VECTOR_DATABASE):
        if props.get("data_sensitivity") in _SENSITIVE:
            found.add("private")
        if props.get("writers") in ("outsiders", "anyone", "public") or props.get("ingest_trust") in (
            "anonymous", "untrusted", "public",
        ):  # fmt: skip
            found.add("untrusted")
    if asset.kind == AssetKind.AGENT and props.get("mailbox_url"):
        found.add("untrusted")
    return found


def graph_facts(graph: Graph, asset: Asset) -> dict[str, Any]:
    """Facts of one asset; a fact that an unread hop could change is left out."""
    kind = asset.kind
    facts: dict[str, Any] = {
        "gateway_edges": len(graph.targets(asset.asset_id, AssetKind.PROMPT_GATEWAY))
        + len(graph.origins(asset.asset_id, AssetKind.PROMPT_GATEWAY))
    }
    if kind == AssetKind.AGENT:
        facts |= _agent_facts(graph, asset)
    elif kind == AssetKind.TOOL:
        facts["used_by"] = len(_users_of_tool(graph, asset))
    elif kind == AssetKind.AI_APPLICATION:
        reached = {a.kind for a in graph.reach(asset.asset_id)}
        facts["endpoint_edges"] = int(AssetKind.LLM_ENDPOINT in reached or AssetKind.AGENT in reached)
        facts["data_edges"] = int(
            bool(
                reached & {AssetKind.DATA_SOURCE, AssetKind.RAG_SYSTEM, AssetKind.VECTOR_DATABASE, AssetKind.MCP_SERVER}
            )
        )
    elif kind == AssetKind.MCP_SERVER:
        facts["colliding_tools"] = _collisions(graph, asset)
    elif kind == AssetKind.EMBEDDING_MODEL:
        facts["consumers"] = len(graph.origins(asset.asset_id))
    elif kind == AssetKind.DATA_SOURCE:
        above = _ancestors(graph, asset.asset_id)
        facts["feeds_internet"] = any(a.exposure == "internet" for a in above)
        facts["feeds_ai"] = any(a.kind in (AssetKind.RAG_SYSTEM, AssetKind.AGENT) for a in above)
    elif kind == AssetKind.MODEL_PROVIDER:
        facts["keys_shared"] = _shared_keys(graph, asset)
    return facts


def _agent_facts(graph: Graph, agent: Asset) -> dict[str, Any]:
    reached = graph.reach(agent.asset_id)
    by_capability: dict[str, list[str]] = defaultdict(list)
    irreversible_tools: list[str] = []
    for other in reached:
        for capability in asset_capabilities(other):
            by_capability[capability].append(other.name)
        definition = other.props.get("definition")
        if other.kind == AssetKind.TOOL and isinstance(definition, Mapping) and irreversible(definition):
            irreversible_tools.append(other.name)
    unread = sorted(a.name for a in reached if a.kind == AssetKind.MCP_SERVER and "tools" not in a.props)
    nothing_to_read = not any(a.kind in (AssetKind.MCP_SERVER, AssetKind.TOOL) for a in reached)
    full = not unread and not (nothing_to_read and "tools" not in agent.props)
    facts: dict[str, Any] = {"unread_servers": unread}
    held = {name: sorted(by_capability[name])[:10] for name in TRIFECTA}
    if full or all(held.values()):
        facts["trifecta"] = all(held.values())
        facts["trifecta_by"] = held
    if full or by_capability["exec"]:
        facts["exec_tools"] = sorted(by_capability["exec"])
    if full or irreversible_tools:
        facts["irreversible_tools"] = sorted(irreversible_tools)
    if full:
        facts["tool_count"] = sum(a.kind == AssetKind.TOOL for a in reached)
    if (principal := agent.props.get("principal")) is not None:
        facts["principal_shared_with"] = sorted(
            a.name
            for a in graph.assets.values()
            if a.kind == AssetKind.AGENT and a.asset_id != agent.asset_id and a.props.get("principal") == principal
        )
    depth, cycle = _delegation(graph, agent.asset_id)
    facts["delegation_depth"] = depth
    facts["delegation_cycle"] = cycle
    return facts


def _delegation(graph: Graph, start: str) -> tuple[int, bool]:
    """Longest chain of `delegates_to` from here (at most 10), and whether it comes back to where it was."""
    longest, cycle = 0, False
    stack: list[tuple[str, tuple[str, ...]]] = [(start, (start,))]
    steps = 0
    while stack and steps < 1_000:
        steps += 1
        node, path = stack.pop()
        longest = max(longest, len(path) - 1)
        for rel, end in graph.out.get(node, ()):
            if rel != "delegates_to":
                continue
            if end in path:
                cycle = True
            elif len(path) <= 10:
                stack.append((end, (*path, end)))
    return longest, cycle


def _users_of_tool(graph: Graph, tool: Asset) -> set[str]:
    direct = {a.asset_id for a in graph.origins(tool.asset_id, *_CLIENTS)}
    for server in graph.origins(tool.asset_id, AssetKind.MCP_SERVER, AssetKind.PROMPT_GATEWAY):
        direct |= {a.asset_id for a in graph.origins(server.asset_id, *_CLIENTS)}
    return direct


def _collisions(graph: Graph, server: Asset) -> list[str]:
    """Tool names that another server offers to one of the same clients."""
    mine = {t.name.lower() for t in graph.targets(server.asset_id, AssetKind.TOOL)}
    found: set[str] = set()
    for client in graph.origins(server.asset_id, *_CLIENTS):
        for other in graph.targets(client.asset_id, AssetKind.MCP_SERVER):
            if other.asset_id != server.asset_id:
                theirs = {t.name.lower() for t in graph.targets(other.asset_id, AssetKind.TOOL)}
                found |= {f"{name} ({other.name})" for name in mine & theirs}
    return sorted(found)


def _ancestors(graph: Graph, asset_id: str) -> list[Asset]:
    seen: set[str] = set()
    edge = [asset_id]
    for _ in range(MAX_DEPTH):
        edge = sorted({start for i in edge for rel, start in graph.into.get(i, ()) if rel in FORWARD} - seen)
        seen.update(edge)
    return [graph.assets[i] for i in sorted(seen) if i in graph.assets]


def _shared_keys(graph: Graph, provider: Asset) -> list[str]:
    """Fingerprints of keys that more than one client of the provider holds."""
    holders: dict[str, set[str]] = defaultdict(set)
    for client in graph.origins(provider.asset_id):
        if isinstance(print_ := client.props.get("credential_fingerprint"), str):
            holders[print_].add(client.asset_id)
    return sorted(name for name, clients in holders.items() if len(clients) > 1)
