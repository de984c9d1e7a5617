"""What a wire format of a judge must know: the request for one vote, and what came back for it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a model."""

    model: str
    system: str
    """Rules and rubric: the same for every case of a family, so that providers can cache it."""
    user: str
    """The case."""
    schema: Mapping[str, Any]
    """JSON schema of the answer."""
    max_tokens: int
    temperature: float | None = None
    """None where the model refuses the parameter."""
    structured: str = "json_schema"
    """How the answer is held to the schema: `json_schema`, or `forced_tool` (Anthropic's older models)."""
    caching: bool = True
    """Ask for prompt caching where it must be asked for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply. None when the provider did not say."""

    tokens_in: int | None = None
    """All of the prompt, cached or not."""
    cached: int = 0
    """Of these, read from the provider's cache."""
    cache_written: int = 0
    """Of these, written to it."""
    tokens_out: int | None = None
    """Thinking included, since it is billed."""


@dataclass(frozen=True, slots=True)
class Said:
    """The text of a reply, or why there is none."""

    text: str = ""
    fault: str | None = None
    """`judge_refused`: refused or filtered. `malformed`: cut off, or not shaped like a reply."""
    why: str = ""
    usage: Usage = Usage()


class Format(Protocol):
    """One provider's wire format."""

    @property
    def provider(self) -> str: ...

    @property
    def family(self) -> str | None:
        """Whose models these are; None when the settings have to say it."""
        ...

    @property
    def base_url(self) -> str | None:
        """The provider's own address; None when the settings have to give one."""
        ...

    def path(self, model: str) -> str:
        """Path of the call, behind the base URL."""
        ...

    def headers(self, key: str | None) -> dict[str, str]:
        """Authentication and version."""
        ...

    def body(self, ask: Ask) -> dict[str, Any]:
        """The request."""
        ...

    def read(self, reply: Mapping[str, Any]) -> Said:
        """What a decoded reply of status 2xx says. Never raises: a reply of another shape is `malformed`."""
        ...


def tokens(usage: Any, key: str) -> int | None:
    """A count of `usage`; None unless it is a plausible whole number."""
    value = usage.get(key) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None
