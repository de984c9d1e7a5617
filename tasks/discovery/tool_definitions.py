"""Fingerprints of MCP tool definitions: hashed raw, before any normalisation, so that no change hides in folding.

They are the gateway's own, so that a policy can pin what a discovery has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from gateway import tools as gateway_tools
from tasks.records import canonical_json

FIELDS = gateway_tools.DEFINITION


def definition(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The covered fields of a tool as listed; a null field counts as absent."""
    return {field: tool[field] for field in FIELDS if tool.get(field) is not None}


def definition_sha256(tool: Mapping[str, Any]) -> str:
    return gateway_tools.definition_sha256(tool)


def listing_sha256(tools: Iterable[Mapping[str, Any]]) -> str:
    """One digest over a whole listing, independent of its order: the value of `pin.tools_sha256`."""
    pairs = sorted([str(tool.get("name", "")), definition_sha256(tool)] for tool in tools)
    return hashlib.sha256(canonical_json(pairs).encode()).hexdigest()
