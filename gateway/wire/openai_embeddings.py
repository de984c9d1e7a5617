"""OpenAI embeddings: texts in, vectors out. Text that comes as token numbers cannot be read and is refused. No I/O."""

from __future__ import annotations

import re
from typing import Any

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.wire.format import JSON_TYPE, Stream, Usage, count, malformed, unscannable

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


class OpenAIEmbeddings:
    """`POST /v1/embeddings`; see `gateway.wire.format.Format`."""

    name = "openai_embeddings"
    stream_type = JSON_TYPE

    def streamed(self, body: Any) -> bool:
        """Never."""
        return False

    def read_request(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """One text or several."""
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise malformed(REQUEST)
        given = body.get("input")
        if not given or not isinstance(given, str | list):
            raise malformed(REQUEST)
        if isinstance(given, str):
            fields.text(body, "input", "user")
        else:
            for index, text in enumerate(given):
                if not isinstance(text, str):
                    raise unscannable(REQUEST)
                fields.text(given, index, "user")
        fields.members(body, "metadata", ("input",))

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Vectors, as numbers or as base64 of numbers, which are no text; and what stands around them."""
        if not isinstance(body, dict) or not isinstance(body.get("data"), list):
            raise malformed(RESPONSE)
        for entry in body["data"]:
            vector = entry.get("embedding") if isinstance(entry, dict) else None
            if isinstance(vector, list):
                if not set(map(type, vector)) <= {int, float}:
                    raise malformed(RESPONSE)
            elif not isinstance(vector, str) or not _BASE64.fullmatch(vector):
                raise malformed(RESPONSE)
            fields.members(entry, "metadata", ("embedding",))
        fields.members(body, "metadata", ("data",))

    def stream(self, inspection: Inspection) -> Stream:
        """There is none."""
        raise RuntimeError("embeddings are not streamed")

    def usage(self, body: Any) -> Usage:
        """`usage`; a vector has no tokens."""
        reported = body.get("usage") if isinstance(body, dict) else None
        return Usage(count(reported.get("prompt_tokens")) if isinstance(reported, dict) else None, 0)

    def output_cap(self, body: Any) -> int | None:
        """No tokens come out."""
        return 0

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """Nothing to set."""

    def choices(self, body: Any) -> int:
        """Always one."""
        return 1
