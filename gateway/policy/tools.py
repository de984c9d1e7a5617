"""What a policy says of tools: which an agent may use, with which arguments, in which order and how often. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema_rs import RegexOptions, ValidationError, validator_for

from gateway.policy.reading import (
    IDENTIFIER,
    check_keys,
    read_choice,
    read_integer,
    read_list,
    read_object,
    read_text,
    refuse,
)

TOOL_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
"""ASCII only: a name that differs from its skeleton (a look-alike, an invisible character) can never be listed."""
MAX_WORK = 10_000
"""Schema positions with every reference written out. One schema of 60 lines can stand for 2^30 of them."""
SERVER_REQUESTS = ("sampling/createMessage", "elicitation/create", "roots/list")
"""What an MCP server may ask of its client, where the policy lets it."""

MAX_CALLS = 1000
"""How many calls back a rule may look, and so how many are remembered of a session."""

_SHA256 = re.compile("[0-9a-f]{64}")
_NESTING = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class ToolRule:
    """One tool that one agent may define, force, call and be told to call."""

    name: str
    asset_id: str | None = None
    """The rule counts on routes of this asset only; None = on all."""
    schema: Any = None
    """JSON Schema that the arguments of every call must satisfy; None = any arguments."""
    definition_sha256: str | None = None
    """Of the approved definition, see `gateway.tools.definition_sha256`; None = any definition."""
    accepts: Any = field(default=None, compare=False, repr=False)
    """The compiled `schema`; its `is_valid` is asked."""


@dataclass(frozen=True, slots=True)
class ToolChain:
    """A tool of `then`, called within `within_calls` calls after one of `first` in the same conversation or session."""

    id: str
    first: frozenset[str]
    then: frozenset[str]
    within_calls: int
    action: str
    """`flag` or `block`."""


@dataclass(frozen=True, slots=True)
class ToolLoops:
    """The same call with the same arguments may stand at most `identical_calls` times among `within_calls` calls."""

    identical_calls: int
    within_calls: int


Tools = Mapping[str, Mapping[str, tuple[ToolRule, ...]]]
"""agent id -> tool name -> rules, each for another asset. An agent not listed has no tools."""


def read_tools(value: Any, agent_ids: frozenset[str]) -> Tools:
    """`{agent: [name | {"name", "asset"?, "schema"?, "definition_sha256"?}]}`; schemas are compiled here."""
    tools: dict[str, dict[str, tuple[ToolRule, ...]]] = {}
    for agent_id, entries in read_object(value, "tools").items():
        if agent_id not in agent_ids:
            refuse("`tools` names an agent that is not in `agents`")
        listed: dict[str, tuple[ToolRule, ...]] = {}
        for entry in read_list(entries, "tools"):
            rule = _rule({"name": entry} if isinstance(entry, str) else read_object(entry, "tools[]"))
            others = listed.get(rule.name, ())
            if any(rule.asset_id == other.asset_id for other in others):
                refuse("`tools` lists a tool twice for the same agent and asset")
            listed[rule.name] = (*others, rule)
        tools[agent_id] = listed
    return tools


def read_tool_chains(value: Any, _: frozenset[str]) -> tuple[ToolChain, ...]:
    """`[{"id", "first": [name], "then": [name], "within_calls": n, "action": "flag" | "block"}]`"""
    chains = tuple(_chain(read_object(entry, "tool_chains[]")) for entry in read_list(value, "tool_chains"))
    if len({chain.id for chain in chains}) != len(chains):
        refuse("two tool chains share one `id`")
    return chains


def check_chains(chains: tuple[ToolChain, ...], tools: Tools) -> None:
    """Every name in a chain is listed for some agent: a misspelt one would never be seen, and the chain not be kept."""
    listed = {name for names in tools.values() for name in names}
    for chain in chains:
        if not chain.first | chain.then <= listed:
            refuse(f"tool chain `{chain.id}` names a tool that `tools` lists for no agent")


def read_tool_loops(value: Any, _: frozenset[str]) -> ToolLoops:
    """`{"identical_calls": n, "within_calls": m}`"""
    entry = read_object(value, "tool_loops")
    check_keys(entry, {"identical_calls", "within_calls"}, set(), "tool_loops")
    loops = ToolLoops(*(_calls(entry[key], f"tool_loops.{key}") for key in ("identical_calls", "within_calls")))
    if loops.within_calls <= loops.identical_calls:
        refuse("`tool_loops.within_calls` must be greater than `identical_calls`, or it never counts enough")
    return loops


def read_server_requests(value: Any, agent_ids: frozenset[str]) -> Mapping[str, frozenset[str]]:
    """`{agent: [method]}`: what MCP servers may ask of this agent; nothing where it is not listed."""
    allowed: dict[str, frozenset[str]] = {}
    for agent_id, methods in read_object(value, "mcp_server_requests").items():
        if agent_id not in agent_ids:
            refuse("`mcp_server_requests` names an agent that is not in `agents`")
        entries = read_list(methods, "mcp_server_requests")
        allowed[agent_id] = frozenset(read_choice(m, SERVER_REQUESTS, "mcp_server_requests") for m in entries)
    return allowed


def _rule(entry: dict[str, Any]) -> ToolRule:
    check_keys(entry, {"name"}, {"asset", "schema", "definition_sha256"}, "tools[]")
    asset, schema, pin = entry.get("asset"), entry.get("schema"), entry.get("definition_sha256")
    return ToolRule(
        name=read_text(entry["name"], TOOL_NAME, "tools[].name"),
        asset_id=None if asset is None else read_text(asset, IDENTIFIER, "tools[].asset"),
        schema=schema,
        definition_sha256=None if pin is None else read_text(pin, _SHA256, "tools[].definition_sha256"),
        accepts=None if schema is None else compile_schema(schema),
    )


def _chain(entry: dict[str, Any]) -> ToolChain:
    check_keys(entry, {"id", "first", "then", "within_calls", "action"}, set(), "tool_chains[]")
    names = {
        key: frozenset(read_text(n, TOOL_NAME, f"tool_chains[].{key}") for n in read_list(entry[key], key))
        for key in ("first", "then")
    }
    if not names["first"] or not names["then"]:
        refuse("a tool chain needs names in `first` and in `then`")
    return ToolChain(
        id=read_text(entry["id"], IDENTIFIER, "tool_chains[].id"),
        within_calls=_calls(entry["within_calls"], "tool_chains[].within_calls"),
        action=read_choice(entry["action"], ("flag", "block"), "tool_chains[].action"),
        **names,
    )


def _calls(value: Any, where: str) -> int:
    calls = read_integer(value, where, 1)
    if calls > MAX_CALLS:
        refuse(f"`{where}` is at most {MAX_CALLS}: that many calls are remembered")
    return calls


def compile_schema(schema: Any) -> Any:
    """The validator of a JSON Schema. Raises PolicyError for one that is broken or not safe to ask.

    Nothing is fetched, expressions run in linear time, and references that lead in circles or multiply without bound
    are refused: how long an answer takes must not be up to whoever writes the arguments.
    """
    if not isinstance(schema, dict):
        refuse("`tools[].schema` must be an object")
    try:
        _work(schema, schema, {})
    except RecursionError:
        refuse("`tools[].schema` chains too many references")
    try:
        return validator_for(schema, offline=True, pattern_options=RegexOptions(size_limit=1 << 20))
    except (ValidationError, ValueError):
        refuse("`tools[].schema` is not a JSON Schema that can be used without fetching anything")


def _work(node: Any, root: dict[str, Any], known: dict[int, int | None]) -> int:
    """Positions below `node` with all references written out; `known` by identity, None while it is being counted."""
    if not isinstance(node, dict | list):
        return 1
    if id(node) in known:
        counted = known[id(node)]
        if counted is None:
            refuse("`tools[].schema` refers to itself; write out the levels that are needed")
        return counted
    known[id(node)] = None
    total = 1
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                total += _work(_target(value, root), root, known)
            elif key in _NESTING and isinstance(value, str):
                refuse("`tools[].schema` may use `$ref` with a JSON pointer into itself only")
    for value in node.values() if isinstance(node, dict) else node:
        total += _work(value, root, known)
    if total > MAX_WORK:
        refuse(f"`tools[].schema` stands for more than {MAX_WORK} positions")
    known[id(node)] = total
    return total


def _target(reference: str, root: dict[str, Any]) -> Any:
    """What a reference within the schema points to (RFC 6901)."""
    if reference != "#" and not reference.startswith("#/"):
        refuse("`tools[].schema` may use `$ref` with a JSON pointer into itself only")
    node: Any = root
    for token in reference[2:].split("/") if reference != "#" else ():
        name = token.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(name)] if isinstance(node, list) else node[name]
        except (KeyError, IndexError, ValueError, TypeError):
            refuse("`tools[].schema` has a `$ref` that points nowhere")
    return node
