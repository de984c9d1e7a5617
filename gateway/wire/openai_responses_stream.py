"""OpenAI responses as a stream: text through hold-back channels, calls held until whole. No I/O.

The provider repeats each text three times after its deltas (the part, the item, the response). None of these is passed
on: all are built from what was sent, so that the client reads one text only. An item that is not text is sent, with
events of its own, once it has come as a whole and was checked.
"""

from __future__ import annotations

from typing import Any

from gateway.fields import RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.wire.format import Usage, count, malformed, unscannable, word
from gateway.wire.held import Held, Seam, TextChannel
from gateway.wire.openai_errors import error_body
from gateway.wire.openai_responses_items import CALLS, PROVIDER_CALLS, as_list, item_type, read_item
from gateway.wire.sse import SseStream, sse

MAX_PARTS = 256
"""Texts and items of one reply; each text has a tail held back for it."""
MAX_TEXT = 16 << 20
"""Characters of all texts of one reply, which are kept to be repeated at its end."""

_TEXTS = {
    # part -> (its events' name, its number, the member with the text)
    "output_text": ("response.output_text", "content_index", "text"),
    "refusal": ("response.refusal", "content_index", "refusal"),
    "reasoning_text": ("response.reasoning_text", "content_index", "text"),
    "summary_text": ("response.reasoning_summary_text", "summary_index", "text"),
}
_SHOWN = frozenset(("output_text", "refusal"))
"""What clients show one after the other."""
_BY_EVENT = {f"{name}.{what}": (part, what) for part, (name, _, _) in _TEXTS.items() for what in ("delta", "done")}
_PARTS = {"response.content_part": "content_index", "response.reasoning_summary_part": "summary_index"}
_BEGIN = frozenset(("response.created", "response.in_progress", "response.queued"))
_END = frozenset(("response.completed", "response.incomplete", "response.failed"))
_CALL_EVENTS = {
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
    "mcp_call": "response.mcp_call_arguments",
}
_TOOL_EVENTS = (
    "response.code_interpreter_call_code",
    "response.shell_call_command",
    "response.shell_call_output_content",
)
_HELD = frozenset(
    f"{name}.{what}" for name in (*_CALL_EVENTS.values(), *_TOOL_EVENTS) for what in ("added", "delta", "done")
)
_PROGRESS = tuple(f"response.{name}." for name in (*sorted(PROVIDER_CALLS), "mcp_call", "mcp_list_tools"))
"""Events that tell how a provider's own tool gets on. They and those of `_HELD` repeat what the item says later."""


def responses_usage(response: Any) -> Usage:
    """The `usage` of a response."""
    reported = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(reported, dict):
        return Usage()
    details = reported.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(count(reported.get("input_tokens")), count(reported.get("output_tokens")), count(cached))


def _tokens(part: str) -> dict[str, list[Any]]:
    """A member that clients expect beside output text; what it would hold is the text once more, cut up."""
    return {"logprobs": []} if part == "output_text" else {}


class _Text:
    """One text of one item: what was sent of it so far."""

    def __init__(self, channel: TextChannel, at: dict[str, Any]) -> None:
        self.channel, self.at, self.sent, self.finished = channel, at, "", False


class ResponsesStream(SseStream):
    """One streamed reply; see `gateway.wire.format.Stream`."""

    def __init__(self, inspection: Inspection) -> None:
        super().__init__()
        self._inspection = inspection
        self._held, self._seam = Held(inspection), Seam()
        self._texts: dict[tuple[int, str, int], _Text] = {}
        self._items: dict[int, Any] = {}  # as they were sent when they were done
        self._names: set[str] = set()  # item ids that were scanned
        self._number = 0
        self._size = 0
        self.usage = Usage()

    @property
    def complete(self) -> bool:
        """Whether the response's last event was seen."""
        return self.done

    def event(self, value: Any) -> bytes:
        """The events to send for one event of the upstream."""
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str):
            raise malformed(RESPONSE)
        if kind in _BY_EVENT:
            part, what = _BY_EVENT[kind]
            out = self._text(part, what, value)
        elif kind in _HELD:
            if isinstance(delta := value.get("delta"), str):
                self._inspection.count_output(delta)
            out = b""
        elif kind == "keepalive" or kind.startswith(_PROGRESS):
            out = b""
        elif kind == "response.output_item.added":
            out = self._item_added(value)
        elif kind == "response.output_item.done":
            out = self._item_done(value)
        elif kind.rpartition(".")[0] in _PARTS:
            out = self._part(kind, value)
        elif kind == "response.output_text.annotation.added":
            at = self._place(value, "content_index")
            out = self._emit(kind, **at, **self._clean(value, "annotation", "annotation_index"))
        elif kind in _BEGIN:
            out = self._emit(kind, response={**self._around(value), "output": []})
        elif kind in _END:
            out = self._ended(kind, value)
        elif kind == "error":
            raise Refusal("SYSTEM.BACKEND", "status", RESPONSE)
        else:
            raise unscannable(RESPONSE)
        self._inspection.verdict(RESPONSE)
        return out

    def end(self) -> bytes:
        """Nothing: the response's last event is the end."""
        return b""

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """The `error` event; it repeats the error where the official client looks for one in every stream."""
        error = error_body(refusal, request_id)["error"]
        flat = {key: error[key] for key in ("code", "message", "param")}
        return self._emit("error", **flat, error=error)

    def _emit(self, kind: str, **members: Any) -> bytes:
        event = sse({"type": kind, "sequence_number": self._number, **members}, kind)
        self._number += 1
        return event

    def _clean(self, value: dict[str, Any], *keys: str) -> dict[str, Any]:
        """Some members of an event, scanned."""
        picked = {key: value[key] for key in keys if key in value}
        self._inspection.tree(picked, RESPONSE, "metadata")
        return picked

    def _index(self, value: dict[str, Any], key: str) -> int:
        index = value.get(key)
        if type(index) is not int or not 0 <= index < MAX_PARTS:
            raise malformed(RESPONSE)
        return index

    def _place(self, value: dict[str, Any], number: str) -> dict[str, Any]:
        """Where in the reply an event belongs; the item's id is scanned the first time it is seen."""
        item_id = value.get("item_id")
        if not isinstance(item_id, str):
            raise malformed(RESPONSE)
        if item_id not in self._names:
            if len(self._names) >= MAX_PARTS:
                raise malformed(RESPONSE)
            fields = Fields(RESPONSE)
            fields.fixed(item_id, "metadata")
            self._inspection.scan(fields)
            self._names.add(item_id)
        indexes = {key: self._index(value, key) for key in ("output_index", number)}
        return {"item_id": item_id, **indexes}

    def _text(self, part: str, what: str, value: dict[str, Any]) -> bytes:
        name, number, member = _TEXTS[part]
        at = self._place(value, number)
        key = (at["output_index"], part, at[number])
        text = self._texts.get(key)
        if text is None:
            if len(self._texts) >= MAX_PARTS:
                raise malformed(RESPONSE)
            channel = self._held.channel(self._seam if part in _SHOWN else None)
            text = self._texts[key] = _Text(channel, at)
        if what == "done":
            rest = self._finish(part, text)
            return rest + self._emit(f"{name}.done", **at, **{member: text.sent}, **_tokens(part))
        delta = value.get("delta")
        if not isinstance(delta, str) or text.finished:
            raise malformed(RESPONSE)
        return self._send(part, text, text.channel.feed(delta))

    def _send(self, part: str, text: _Text, piece: str) -> bytes:
        if not piece:
            return b""
        text.sent += piece
        self._size += len(piece)
        if self._size > MAX_TEXT:
            raise Refusal("WIRE.LIMIT", "upstream", RESPONSE)
        return self._emit(f"{_TEXTS[part][0]}.delta", **text.at, delta=piece, **_tokens(part))

    def _finish(self, part: str, text: _Text) -> bytes:
        """The rest of a text, whose channel ends with it."""
        if text.finished:
            return b""
        text.finished = True
        return self._send(part, text, text.channel.finish())

    def _part(self, kind: str, value: dict[str, Any]) -> bytes:
        group, _, what = kind.rpartition(".")
        number = _PARTS[group]
        at = self._place(value, number)
        part: Any = value.get("part")
        if what == "added":
            if word(part, "type") not in _TEXTS:
                raise unscannable(RESPONSE)
            member = _TEXTS[part["type"]][2]
            rest, shown = b"", {**self._clean(part, "type", "annotations"), member: ""}
        else:
            rest, shown = self._rebuilt(at["output_index"], at[number], part)
        return rest + self._emit(kind, **at, part=shown)

    def _rebuilt(self, output_index: int, number: int, part: Any) -> tuple[bytes, dict[str, Any]]:
        """A part with the text that was sent for it, after an event with what was still held of it."""
        if word(part, "type") not in _TEXTS:
            raise unscannable(RESPONSE)
        kind = part["type"]
        member = _TEXTS[kind][2]
        text = self._texts.get((output_index, kind, number))
        if text is None:  # it came without deltas
            return b"", self._clean(part, "type", "annotations", member)
        rest = self._finish(kind, text)
        return rest, {**self._clean(part, "type", "annotations"), member: text.sent}

    def _item(self, value: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        index, item = self._index(value, "output_index"), value.get("item")
        if not isinstance(item, dict):
            raise malformed(RESPONSE)
        return index, item, item_type(item)

    def _item_added(self, value: dict[str, Any]) -> bytes:
        index, item, kind = self._item(value)
        if kind == "message":
            shown = {**self._clean(item, "type", "id", "status", "role", "phase"), "content": []}
        elif kind == "reasoning":
            shown = {**self._clean(item, "type", "id", "status"), "summary": []}
        else:
            return b""
        return self._emit("response.output_item.added", output_index=index, item=shown)

    def _item_done(self, value: dict[str, Any]) -> bytes:
        index, item, kind = self._item(value)
        rest = b""
        if kind in ("message", "reasoning"):
            parts = ("content",) if kind == "message" else ("summary", "content")
            shown = {key: member for key, member in item.items() if key not in parts}
            self._checked(shown)
            for key in parts:
                if item.get(key) is None:
                    continue
                shown[key] = []
                for number, part in enumerate(as_list(item[key], RESPONSE)):
                    held, built = self._rebuilt(index, number, part)
                    rest += held
                    shown[key].append(built)
        else:
            shown = self._checked(item)
            rest = self._call_events(index, shown, kind)
        self._items[index] = shown
        return rest + self._emit("response.output_item.done", output_index=index, item=shown)

    def _call_events(self, index: int, item: dict[str, Any], kind: str) -> bytes:
        """What a client expects to have read before it is told that an item is done."""
        begun, member = dict(item), CALLS.get(kind, "")
        if "status" in begun:
            begun["status"] = "in_progress"
        if kind not in _CALL_EVENTS or not isinstance(item.get(member), str):
            return self._emit("response.output_item.added", output_index=index, item=begun)
        begun[member] = ""
        at, name = {"item_id": item.get("id", ""), "output_index": index}, _CALL_EVENTS[kind]
        named = {"name": item["name"]} if kind == "function_call" else {}
        return (
            self._emit("response.output_item.added", output_index=index, item=begun)
            + self._emit(f"{name}.delta", **at, delta=item[member])
            + self._emit(f"{name}.done", **at, **{member: item[member]}, **named)
        )

    def _checked(self, item: dict[str, Any]) -> dict[str, Any]:
        """A whole item, checked and scanned."""
        fields = Fields(RESPONSE)
        read_item(item, fields, self._inspection)
        self._inspection.scan(fields)
        return item

    def _around(self, value: dict[str, Any]) -> dict[str, Any]:
        """The response but its output, scanned."""
        response = value.get("response")
        if not isinstance(response, dict):
            raise malformed(RESPONSE)
        around = {key: member for key, member in response.items() if key not in ("output", "output_text")}
        self._inspection.tree(around, RESPONSE, "metadata")
        return around

    def _ended(self, kind: str, value: dict[str, Any]) -> bytes:
        rest = b"".join(self._finish(part, text) for (_, part, _), text in self._texts.items())
        around = self._around(value)
        self.usage = responses_usage(value["response"])
        output = as_list(value["response"].get("output"), RESPONSE)
        if len(output) > MAX_PARTS:
            raise malformed(RESPONSE)
        shown = [self._items[i] if i in self._items else self._checked(item) for i, item in enumerate(output)]
        self.done = True
        return rest + self._emit(kind, response={**around, "output": shown})
