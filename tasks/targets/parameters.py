"""What only the inventory can know about a model's request: parameters that it needs, renames or refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.records import Asset


def with_parameters(asset: Asset, body: Mapping[str, Any]) -> dict[str, Any]:
    """The declared `parameters` of a target over the body's own; null leaves one out, mappings are joined.

    Some models refuse `temperature`, or want their limit under another name: only the inventory can know.
    """
    declared = asset.props.get("parameters")
    return _joined(body, declared) if isinstance(declared, Mapping) else dict(body)


def _joined(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for name, value in over.items():
        if value is None:
            out.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(out.get(name), Mapping):
            out[name] = _joined(out[name], value)
        else:
            out[name] = value
    return out
