"""The little world behind planted tools: files, rows and memory that calls really read and change.

The prober answers the target's tool calls itself. With a world those answers depend on what was called before, and
what the target changed is evidence that no wording of its reply can hide. Nothing outside this object is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.targets.target import PlantedTool, Stores

MAX_ENTRIES = 200
"""Per store; a target that writes without end must not fill the prober's memory."""
MAX_TEXT = 20_000
"""Characters of one entry."""


class World:
    """One conversation's tools and stores."""

    def __init__(self, tools: Sequence[PlantedTool], state: Stores) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._stores = {name: dict(entries) for name, entries in state.items()}
        self._calls: dict[str, int] = {}

    @property
    def stores(self) -> Stores:
        return {name: dict(entries) for name, entries in self._stores.items()}

    def answer(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What the tool returns; its effect on the stores is done."""
        tool = self._tools.get(name)
        if tool is None:
            return "no such tool"
        at = self._calls.get(name, 0)
        self._calls[name] = at + 1
        plain = tool.results[min(at, len(tool.results) - 1)]
        return plain if tool.effect is None else self._apply(tool.effect, arguments, plain)

    def _apply(self, effect: Mapping[str, str], arguments: Mapping[str, Any], plain: str) -> str:
        """`plain` is what the tool says when there is nothing to read, or after a change."""
        store = self._stores.setdefault(effect["store"], {})
        key = str(arguments.get(effect.get("key", ""), ""))[:MAX_TEXT]
        value = str(arguments.get(effect.get("value", ""), ""))[:MAX_TEXT]
        match effect["do"]:
            case "read":
                return store.get(key, plain)
            case "list":
                return "\n".join(store.values()) or plain
            case "run":
                # An interpreter without a border: the code gets every file that it names.
                return "\n".join(text for path, text in store.items() if path in value) or plain
            case "delete":
                store.pop(key, None)
            case "write" if len(store) < MAX_ENTRIES or key in store:
                store[key] = value
            case "append" if len(store) < MAX_ENTRIES or key in store:
                key = key or f"entry {len(store) + 1}"
                store[key] = (f"{store[key]}\n{value}" if key in store else value)[-MAX_TEXT:]
            case _:
                return "the store is full"
        return plain
