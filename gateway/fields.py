"""The texts of one body, in reading order: collected first, scanned together, then rewritten where they stand. No I/O.

A wire format says where texts lie and knows nothing of what is looked for; `Inspection.scan` says what becomes of each
text. The parsed body belongs to the gateway, so it is changed in place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container
from typing import Any

import orjson

from gateway.reasons import Refusal
from gateway.strict_json import MAX_DEPTH, parse

REQUEST, RESPONSE = "request", "response"
SCAN_NUMBERS_FROM = 10_000_000_000
"""Numbers this large may be a card or identity number; smaller ones cannot be."""
CODES_FROM = 8
"""A list of this many numbers may be a text written as the codes of its characters; no secret is shorter."""

_WORDS = frozenset({
    "role", "content", "type", "text", "model", "messages", "message", "name", "description", "parameters", "id",
    "properties", "required", "arguments", "function", "tools", "tool_calls", "tool_choice", "stream", "index",
    "temperature", "max_tokens", "object", "created", "choices", "usage", "finish_reason", "input", "output", "items",
    "parts", "instructions", "contents", "system", "annotations", "status", "refusal",
})  # fmt: skip
"""Keys that all formats are made of. They stand in every body many times and can hide nothing."""


_LABELS = frozenset({
    "role", "type", "id", "call_id", "tool_call_id", "name", "model", "object", "status", "finish_reason", "format",
    "media_type", "mime_type", "mimeType", "stop_reason", "finishReason", "phase", "detail",
})  # fmt: skip
"""Members that stand between the texts of a conversation without being part of what is read."""


class Fields:
    """What was collected from one body. `scope` is `REQUEST` or `RESPONSE`.

    Every text has an index. Locations are `system user assistant tool_def tool_args tool_result metadata header path`.
    """

    __slots__ = ("_embedded", "_holders", "_keys", "locations", "scope", "texts")

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.texts: list[str] = []
        self.locations: list[str] = []
        self._holders: list[Any] = []  # what holds the text, None for one that cannot be rewritten
        self._keys: list[Any] = []
        # JSON inside strings: (first index, index after the last, holder, key, parsed value)
        self._embedded: list[tuple[int, int, Any, Any, Any]] = []

    def text(self, holder: Any, key: Any, location: str) -> None:
        """The string at `holder[key]`."""
        self.texts.append(holder[key])
        self.locations.append(location)
        self._holders.append(holder)
        self._keys.append(key)

    def fixed(self, text: str, location: str) -> None:
        """Text that cannot be rewritten (a key, a number, an id): what would be redacted is blocked."""
        self.texts.append(text)
        self.locations.append(location)
        self._holders.append(None)
        self._keys.append(None)

    def tree(self, holder: Any, key: Any, location: str, sealed: Container[str] = ()) -> None:
        """All strings, keys and large numbers at `holder[key]`, however deep; the parser bounds the depth.

        `sealed`: names of members whose text is signed or encrypted, which would be worthless once it is rewritten.
        """
        value = holder[key]
        kind = type(value)  # the parser makes no subclasses, and this is the one loop over every value of a body
        if kind is str:
            self.text(holder, key, location)
        elif kind is dict:
            self.members(value, location, (), sealed)
        elif kind is list:
            if len(value) >= CODES_FROM and type(value[0]) is int:
                with contextlib.suppress(TypeError, ValueError):  # not all of them are bytes
                    self.fixed(bytes(value).decode("latin-1"), location)
            for index in range(len(value)):
                self.tree(value, index, location, sealed)
        elif (kind is int or kind is float) and abs(value) >= SCAN_NUMBERS_FROM:
            self.fixed(str(int(value)), location)

    def members(
        self, value: dict[str, Any], location: str, besides: Container[str] = (), sealed: Container[str] = ()
    ) -> None:
        """`tree` of all members and their names, but those named in `besides`, which the caller reads itself."""
        for name, member in value.items():
            if name in besides:
                continue
            if name not in _WORDS:
                self.fixed(name, location)
            if type(member) is not str:
                self.tree(value, name, location, sealed)
            elif name in sealed:
                self.fixed(member, location)
            else:
                self.text(value, name, location)

    def json_text(self, holder: Any, key: Any, location: str) -> Any:
        """JSON inside the string at `holder[key]`, looked into so that JSON escapes hide nothing; returns what it says.

        The string is written anew, so that the receiver reads what was inspected also where keys are repeated. Text
        that is not JSON is taken as it is; the receiver has to make sense of it too.
        """
        text = holder[key]
        try:
            value = parse(text.encode("utf-8", "strict"), MAX_DEPTH)
        except (Refusal, UnicodeEncodeError):
            value = None
        if not isinstance(value, dict | list):
            self.text(holder, key, location)
            return text
        holder[key] = orjson.dumps(value).decode()
        first = len(self.texts)
        self.tree([value], 0, location)
        self._embedded.append((first, len(self.texts), holder, key, value))
        return value

    def prose(self) -> list[int]:
        """The indexes of texts that a reader takes in one after the other: no names, numbers or labels."""
        return [i for i, key in enumerate(self._keys) if key is not None and key not in _LABELS]

    def rewritable(self, index: int) -> bool:
        """Whether `rewrite` may be called for this text."""
        return self._holders[index] is not None

    def rewrite(self, index: int, text: str) -> None:
        """Put `text` where the text of this index stands."""
        self._holders[index][self._keys[index]] = text
        for first, end, holder, key, value in self._embedded:
            if first <= index < end:
                holder[key] = orjson.dumps(value).decode()
