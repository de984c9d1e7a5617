"""Gemini's streamed replies: text through hold-back channels; calls are whole as they come. No I/O."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.fields import RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.wire.format import Usage, count, malformed, unscannable
from gateway.wire.gemini_errors import error_body
from gateway.wire.gemini_parts import SEALED, read_part
from gateway.wire.held import Held, Seam, TextChannel
from gateway.wire.sse import SseStream, sse

MAX_CHOICES = 8
"""Of one reply: the most candidates that the provider gives."""

_PART = frozenset(("text", "thought", *SEALED))
"""Members of a part with text."""
_OWN = frozenset(("content", "index", "finishReason", "logprobsResult"))


def gemini_usage(body: Any) -> Usage:
    """The `usageMetadata` of a reply or chunk; thinking is paid as output, what tools bring as input."""
    reported = body.get("usageMetadata") if isinstance(body, dict) else None
    if not isinstance(reported, dict):
        return Usage()
    sent, answered = count(reported.get("promptTokenCount")), count(reported.get("candidatesTokenCount"))
    thoughts = count(reported.get("thoughtsTokenCount"))
    if sent is not None:
        sent += count(reported.get("toolUsePromptTokenCount")) or 0
    if thoughts is not None:
        answered = (answered or 0) + thoughts
    return Usage(sent, answered, count(reported.get("cachedContentTokenCount")))


class GeminiStream(SseStream):
    """One streamed reply; see `gateway.wire.format.Stream`. It ends with the connection, not with an event."""

    def __init__(self, inspection: Inspection) -> None:
        super().__init__()
        self._inspection = inspection
        self.texts = Held(inspection)
        self._candidates: dict[int, _Candidate] = {}
        self._rejected = False
        self._last: dict[str, Any] | None = None  # waits, because the last chunk is sent by `end`
        self.usage = Usage()

    @property
    def complete(self) -> bool:
        """Whether every candidate is finished, or the provider will not answer this prompt."""
        return self._rejected or (bool(self._candidates) and all(c.finished for c in self._candidates.values()))

    def event(self, value: Any) -> bytes:
        """The chunk to send for one chunk of the upstream; the last one waits for `end`."""
        if not isinstance(value, dict):
            raise malformed(RESPONSE)
        if value.get("error") is not None:
            raise Refusal("SYSTEM.BACKEND", "status", RESPONSE)
        candidates = value.get("candidates", [])
        if not isinstance(candidates, list):
            raise malformed(RESPONSE)
        if "usageMetadata" in value:
            self.usage = gemini_usage(value)
        if isinstance(value.get("promptFeedback"), dict) and value["promptFeedback"].get("blockReason"):
            self._rejected = True
        out = [c for c in map(self._candidate, candidates) if c is not None]
        around = {k: v for k, v in value.items() if k != "candidates"}
        around = self._inspection.tree(around, RESPONSE, "metadata")
        self._inspection.verdict(RESPONSE)
        if candidates and not out:
            return b""
        ready = [] if self._last is None else [self._last]
        ready.append({"candidates": out, **around} if out else around)
        self._last = ready.pop() if self.complete else None
        return b"".join(map(sse, ready))

    def end(self) -> bytes:
        """The chunk that finished the reply, with what was still held of its texts."""
        last: dict[str, Any] = self._last or {}
        for index, candidate in self._candidates.items():
            parts = candidate.rest()
            if not parts:
                continue
            known = last.setdefault("candidates", [])
            for sent in known:
                if sent["index"] == index:
                    sent.setdefault("content", {"role": "model"}).setdefault("parts", []).extend(parts)
                    break
            else:
                known.append({"index": index, "content": {"role": "model", "parts": parts}})
        self._inspection.verdict(RESPONSE)
        return sse(last) if last else b""

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """A chunk that is an error."""
        return sse(error_body(refusal, request_id))

    def _candidate(self, value: Any) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            raise malformed(RESPONSE)
        index, content, reason = value.get("index", 0), value.get("content"), value.get("finishReason")
        if type(index) is not int or not 0 <= index < MAX_CHOICES or not isinstance(reason, str | None):
            raise malformed(RESPONSE)
        if not isinstance(content, dict | None):
            raise malformed(RESPONSE)
        content = content or {}
        given = content.get("parts", [])
        if not isinstance(given, list):
            raise malformed(RESPONSE)
        candidate = self._candidates.setdefault(index, _Candidate(self))
        parts = [part for item in given for part in candidate.feed(item)]
        candidate.finished |= reason is not None  # said with every chunk by some models
        other = {k: v for k, v in value.items() if k not in _OWN}
        if not (parts or reason or other):
            return None
        out = {**other, **({} if reason is None else {"finishReason": reason})}
        if content or parts:
            out["content"] = {k: v for k, v in content.items() if k != "parts"}
        out = self._inspection.tree(out, RESPONSE, "metadata")
        if parts:
            out["content"]["parts"] = parts
        return {"index": index, **out}

    def read(self, part: dict[str, Any]) -> None:
        """Check and filter a part that is whole."""
        self._inspection.count_output(orjson.dumps(part).decode())
        fields = Fields(RESPONSE)
        read_part(part, "assistant", fields, self._inspection)
        self._inspection.scan(fields)


class _Candidate:
    """The texts of one candidate. Clients join those of the answer, whatever thoughts stand between them."""

    def __init__(self, stream: GeminiStream) -> None:
        self._stream = stream
        self._channels: dict[bool, TextChannel] = {}
        self._seam = Seam()  # between what is said before a call and after it
        self.finished = False

    def feed(self, part: Any) -> list[dict[str, Any]]:
        """The parts to send for one part."""
        if not isinstance(part, dict) or not isinstance(part.get("thought"), bool | None):
            raise malformed(RESPONSE)
        text = part.get("text")
        if text is None:
            self._stream.read(part)
            return [*self.rest(), part]  # in order: what was said before a call is sent before it
        if not isinstance(text, str):
            raise malformed(RESPONSE)
        if not part.keys() <= _PART:
            raise unscannable(RESPONSE)
        thought = part.get("thought") is True
        before = [] if thought else self.rest(True)
        if thought not in self._channels:
            self._channels[thought] = self._stream.texts.channel(None if thought else self._seam)
        out = self._channels[thought].feed(text)
        if "thoughtSignature" in part:
            self._stream.read({"text": "", **{k: part[k] for k in SEALED}})
        elif not out:
            return before
        return [*before, {**part, "text": out}]

    def rest(self, *kinds: bool) -> list[dict[str, Any]]:
        """What is left of all texts, or of thoughts alone, which end there."""
        rests = []
        for thought in kinds or (True, False):
            channel = self._channels.pop(thought, None)
            text = "" if channel is None else channel.finish()
            if text:
                rests.append({"text": text, **({"thought": True} if thought else {})})
        return rests
