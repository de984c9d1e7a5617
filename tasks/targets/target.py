"""What a probe target is to the campaign: something one can hold a conversation with, and that never raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tasks.probing.refusals import is_refusal
from tasks.records import ToolCall

Stores = Mapping[str, Mapping[str, str]]
"""Store (`files`, `rows`, `memory`) -> key -> text: what planted tools read and change."""

NEW_SESSION = "new_session"
"""Role of a turn that starts a fresh conversation: history is forgotten, what tools have stored stays."""


@dataclass(frozen=True, slots=True)
class PlantedTool:
    """A tool the prober offers to a chat target and answers for itself; nothing real runs."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""
    results: tuple[str, ...]
    """What the prober says the tool returned, call by call; the last one again for every further call."""
    later_description: str | None = None
    """Takes the place of the description from the second exchange on, after the first was accepted."""
    effect: Mapping[str, str] | None = None
    """`do` (read, list, run, write, append, delete), `store`, and which arguments are `key` and `value`."""


@dataclass(frozen=True, slots=True)
class PlantedDocument:
    """A document put into a retrieval corpus by one tenant before the question, and taken out after it."""

    document_id: str
    text: str
    principal: str


@dataclass(frozen=True, slots=True)
class PlantedMail:
    """A message sent to the agent's mailbox through the public channel that outsiders use."""

    sender: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Citation:
    chunk_id: str
    tenant: str | None
    turn: int = 0
    """Which of the conversation's exchanges cited it, from 0; citations stand in the target's own order of rank."""


@dataclass(frozen=True, slots=True)
class Request:
    """One conversation to hold with a target."""

    turns: tuple[tuple[str, str], ...]
    """(role, content), role `user`, `assistant` or `new_session`. An assistant turn is forged history; two user turns
    in a row are two exchanges, with the target's own answer in between."""
    when: Mapping[int, str] = field(default_factory=dict)
    """Number of a turn -> `refused` or `answered`: the turn is left out unless the last answer was one."""
    system: str | None = None
    tools: tuple[PlantedTool, ...] = ()
    images: tuple[bytes, ...] = ()
    """PNG pictures that go with the last turn."""
    documents: tuple[PlantedDocument, ...] = ()
    mails: tuple[PlantedMail, ...] = ()
    principal: str | None = None
    """Whose credential to ask with, for targets with several."""
    control_principal: str | None = None
    """Ask the last question as this principal first, to see that the planted documents can be found at all."""
    max_tokens: int | None = 512
    state: Stores = field(default_factory=dict)
    """What the planted tools find in their stores at the start."""
    tool_rounds: int = 4
    """Tool answers per exchange; a target that still calls tools then is cut off and its trace kept."""
    burst: int = 0
    """Send the first turn so many times at once and count what is throttled, instead of a conversation."""

    def due(self, turn: int, last: str) -> bool:
        """Whether a turn is said after `last`, the target's latest answer."""
        condition = self.when.get(turn)
        return condition is None or (condition == "refused") is is_refusal(last)


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of many requests at once."""

    sent: int
    throttled: int
    """Answered by 429."""
    announced: bool
    """Some answer carried rate-limit headers."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, or why nothing did (`error_kind`). Text and arguments are untrusted data."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """In order, over the whole conversation."""
    finish: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    citations: tuple[Citation, ...] | None = None
    """None when the target reports none at all, which is not the same as an empty list."""
    control: Reply | None = None
    baseline: Reply | None = None
    """The same target's answer to the same question without what is being tested, in a conversation of its own."""
    request_sha256: str = ""
    response_sha256: str | None = None
    error_kind: str | None = None
    """`timeout connect http_<status> malformed too_large filtered throttled auth plant_failed budget circuit_open`."""
    tries: int = 0
    """Requests sent for this conversation, repeated ones included."""
    last: str = ""
    """The target's words in the last exchange; empty when that is all of `text`."""
    said_before: tuple[int, ...] = ()
    """For each call, how many characters of `text` the target had said before it."""
    state: Stores | None = None
    """The stores of the planted tools at the end; None when none was planted."""
    burst: Burst | None = None


class Target(Protocol):
    """One declared endpoint, seen by one worker. `converse` never raises for what the far side does."""

    async def converse(self, request: Request) -> Reply:
        """Hold the conversation and report it; faults come back as `Reply.error_kind`."""
        ...

    async def close(self) -> None: ...
