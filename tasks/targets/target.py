"""What a probe target is to the campaign: something one can hold a conversation with, and that never raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.records import ToolCall


@dataclass(frozen=True, slots=True)
class PlantedTool:
    """A tool the prober offers to a chat target and answers for itself; nothing real runs."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""
    result: str
    """What the prober says the tool returned."""


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


@dataclass(frozen=True, slots=True)
class Request:
    """One conversation to hold with a target."""

    turns: tuple[tuple[str, str], ...]
    """(role, content), role `user` or `assistant`. An assistant turn is forged history; two user turns in a row are
    two exchanges, with the target's own answer in between."""
    system: str | None = None
    tools: tuple[PlantedTool, ...] = ()
    documents: tuple[PlantedDocument, ...] = ()
    mails: tuple[PlantedMail, ...] = ()
    principal: str | None = None
    """Whose credential to ask with, for targets with several."""
    control_principal: str | None = None
    """Ask the last question as this principal first, to see that the planted documents can be found at all."""
    max_tokens: int | None = 512


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
    request_sha256: str = ""
    response_sha256: str | None = None
    error_kind: str | None = None
    """`timeout connect http_<status> malformed too_large filtered throttled auth plant_failed budget circuit_open`."""
    tries: int = 0
    """Requests sent for this conversation, repeated ones included."""


class Target(Protocol):
    """One declared endpoint, seen by one worker. `converse` never raises for what the far side does."""

    async def converse(self, request: Request) -> Reply:
        """Hold the conversation and report it; faults come back as `Reply.error_kind`."""
        ...

    async def close(self) -> None: ...
