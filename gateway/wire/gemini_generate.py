"""Gemini `generateContent`: where text and tools sit in requests and replies. No I/O.

Options that are not listed here are refused: a new one may carry content, or refer to content, past the filter.
"""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.wire.format import SSE_TYPE, Stream, Usage, count, malformed, unscannable
from gateway.wire.gemini_names import canonical
from gateway.wire.gemini_parts import items, read_content, read_tools
from gateway.wire.gemini_stream import MAX_CHOICES, GeminiStream, gemini_usage

_OPTIONS = frozenset((
    "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig", "labels",
    "serviceTier", "store",
))  # fmt: skip
"""Not here: `cachedContent` and `continuationToken`, which refer to earlier content."""
_GENERATION = frozenset((
    "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "presencePenalty",
    "frequencyPenalty", "seed", "responseMimeType", "responseSchema", "responseJsonSchema", "responseModalities",
    "thinkingConfig", "mediaResolution", "enableEnhancedCivicAnswers",
))  # fmt: skip
"""Not here: log probabilities, with which the text would travel a second time, cut up; speech, images and audio."""
_ROLES = {None: "user", "user": "user", "model": "assistant", "function": "tool_result"}
_LOCATIONS = {"tools": "tool_def", "toolConfig": "tool_def"}


class Gemini:
    """`POST …/models/<model>:generateContent`, or as a stream; see `gateway.wire.format.Format`."""

    name = "gemini"
    stream_type = SSE_TYPE

    def streamed(self, body: Any) -> bool:
        """Never by the body: the path says it (`Endpoint.streamed`)."""
        return False

    def read_request(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Contents, system instruction, tools and everything else, after one spelling is made of it."""
        if not isinstance(body, dict):
            raise malformed(REQUEST)
        canonical(body)
        if not body.keys() <= _OPTIONS:
            raise unscannable(REQUEST, "option")
        _check_generation(body.get("generationConfig"))
        read_tools(body, inspection)
        if body.get("systemInstruction") is not None:
            read_content(body["systemInstruction"], "system", fields, inspection)
        _read_contents(body, fields, inspection)
        for key, location in _LOCATIONS.items():
            if key in body:
                fields.tree(body, key, location)
        fields.members(body, "metadata", ("contents", "systemInstruction", *_LOCATIONS))

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Every candidate's content, and what stands around it."""
        if not isinstance(body, dict) or not isinstance(body.get("candidates", []), list):
            raise malformed(RESPONSE)
        candidates = body.get("candidates", [])
        if len(candidates) > MAX_CHOICES:
            raise malformed(RESPONSE)
        for candidate in candidates:
            if not isinstance(candidate, dict):
                raise malformed(RESPONSE)
            candidate.pop("logprobsResult", None)
            if candidate.get("content") is not None:
                read_content(candidate["content"], "assistant", fields, inspection)
            fields.members(candidate, "metadata", ("content",))
        fields.members(body, "metadata", ("candidates",))

    def stream(self, inspection: Inspection) -> Stream:
        """Replies with a piece of the content each."""
        return GeminiStream(inspection)

    def usage(self, body: Any) -> Usage:
        """`usageMetadata`."""
        return gemini_usage(body)

    def output_cap(self, body: Any) -> int | None:
        """`generationConfig.maxOutputTokens`, which covers thinking too."""
        given = (body.get("generationConfig") or {}).get("maxOutputTokens")
        cap = count(given)
        if given is not None and cap is None:
            raise malformed(REQUEST)
        return cap

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """`generationConfig.maxOutputTokens`."""
        body["generationConfig"] = {**(body.get("generationConfig") or {}), "maxOutputTokens": tokens}

    def choices(self, body: Any) -> int:
        """`generationConfig.candidateCount`."""
        return (body.get("generationConfig") or {}).get("candidateCount") or 1


class GeminiTokenCount(Gemini):
    """`POST …/models/<model>:countTokens` of contents, answered with a number."""

    def read_request(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """`contents` alone; a request within the request is refused."""
        if not isinstance(body, dict):
            raise malformed(REQUEST)
        canonical(body)
        if body.keys() != {"contents"}:
            raise unscannable(REQUEST, "option")
        _read_contents(body, fields, inspection)

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """`totalTokens`."""
        if not isinstance(body, dict):
            raise malformed(RESPONSE)
        fields.members(body, "metadata")

    def usage(self, body: Any) -> Usage:
        """Nothing: no model reads the request."""
        return Usage(0, 0)

    def output_cap(self, body: Any) -> int | None:
        """No model answers."""
        return 0

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """There is nothing to bound, and the provider refuses the option here."""


def _read_contents(body: dict[str, Any], fields: Fields, inspection: Inspection) -> None:
    contents = items(body.get("contents"))
    if not contents:
        raise malformed(REQUEST)
    for content in contents:
        role = content.get("role") if isinstance(content, dict) else ""
        if not isinstance(role, str | None) or role not in _ROLES:
            raise malformed(REQUEST)
        read_content(content, _ROLES[role], fields, inspection)


def _check_generation(config: Any) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise malformed(REQUEST)
    if not config.keys() <= _GENERATION or config.get("responseModalities") not in (None, [], ["TEXT"]):
        raise unscannable(REQUEST, "option")
    n = config.get("candidateCount")
    if n is not None and (type(n) is not int or not 1 <= n <= MAX_CHOICES):
        raise malformed(REQUEST)
