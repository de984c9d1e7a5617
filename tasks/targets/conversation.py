"""A conversation with a model that lets the client run the tools, whatever the provider's format is.

The prober plays the client: it offers the planted tools, answers their calls from the plan, and runs nothing. A format
says only how its bodies look (`body`, `read`, `results`); the loop over turns and tool rounds stands here once.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.records import Asset, ToolCall
from tasks.targets.credentials import bearer_of, url_of
from tasks.targets.openai_chat import Talk, burst_reply, read_arguments, with_tries
from tasks.targets.parameters import with_parameters
from tasks.targets.target import NEW_SESSION, Reply, Request
from tasks.targets.wire import Answer, Signer, Wire
from tasks.targets.world import World

DEFAULT_MAX_TOKENS = 4_096
"""Where a format demands a limit and the family sets none."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the model made it; `identifier` ties its result to it."""

    identifier: str
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class Said:
    """One reply of the model: the message as it goes back into the history, and what it holds."""

    message: dict[str, Any]
    text: str
    calls: tuple[Call, ...]
    finish: str
    """`stop`, `length`, `tool_calls`, `content_filter` or `malformed`."""


class ClientToolTarget(ABC):
    """One declared model endpoint, seen by one worker."""

    parts_key = "content"
    """Where a message keeps its list of parts."""

    def __init__(self, asset: Asset, wire: Wire) -> None:
        self._url = url_of(asset).rstrip("/")
        self._model = str(asset.props.get("model", asset.name))
        self._asset = asset
        self._wire = wire

    @abstractmethod
    def place(self) -> str:
        """The address that a message is posted to."""

    @abstractmethod
    def headers(self, secret: str | None) -> Mapping[str, str]:
        """How the credential travels."""

    def signer(self, secret: str | None) -> Signer | None:
        """For formats that sign each request instead."""
        return None

    @abstractmethod
    def message(self, role: str, text: str) -> dict[str, Any]:
        """A turn of `user` or `assistant`."""

    @abstractmethod
    def picture(self, encoded: str) -> dict[str, Any]:
        """A part of a message with a PNG picture in base64."""

    @abstractmethod
    def body(self, request: Request, messages: Sequence[Mapping[str, Any]], later: bool) -> dict[str, Any]:
        """A whole request; `later`: the tools' later descriptions are in force."""

    @abstractmethod
    def read(self, data: Mapping[str, Any]) -> Said | None:
        """None when the reply has not the shape of one."""

    @abstractmethod
    def results(self, answered: Sequence[tuple[Call, str]]) -> dict[str, Any]:
        """The message that carries what the tools returned."""

    async def close(self) -> None:
        await self._wire.close()

    async def converse(self, request: Request) -> Reply:
        secret = bearer_of(self._asset, request.principal)
        before = self._wire.sent
        if request.burst:
            messages = [self.message("user", request.turns[0][1])]
            body = with_parameters(self._asset, self.body(request, messages, later=False))
            answers = await self._wire.burst(self.place(), body, None, request.burst, self.headers(secret))
            return burst_reply(body, answers, self._wire.sent - before)
        return with_tries(await self._hold(request, secret), None, self._wire.sent - before)

    async def _hold(self, request: Request, secret: str | None) -> Reply:
        messages: list[dict[str, Any]] = []
        world = World(request.tools, request.state)
        talk = Talk(world)
        for i, (role, content) in enumerate(request.turns):
            if not request.due(i, talk.last):
                continue
            if role == NEW_SESSION:
                messages = []
                continue
            message = self.message(role, content)
            if i == len(request.turns) - 1:
                message[self.parts_key] += [self.picture(base64.b64encode(p).decode()) for p in request.images]
            self._append(messages, message)
            following = request.turns[i + 1][0] if i + 1 < len(request.turns) else None
            if role == "user" and following != "assistant":
                error_kind = await self._exchange(request, messages, secret, talk, world)
                talk.exchanges += 1
                if error_kind is not None:
                    return talk.reply(error_kind)
        return talk.reply(None)

    async def _exchange(
        self, request: Request, messages: list[dict[str, Any]], secret: str | None, talk: Talk, world: World
    ) -> str | None:
        for _ in range(request.tool_rounds):
            body = with_parameters(self._asset, self.body(request, messages, later=talk.exchanges > 0))
            talk.sending(body)
            answer = await self._wire.send(
                "POST",
                self.place(),
                body,
                headers=self.headers(secret),
                sign=self.signer(secret),
                output=request.max_tokens or DEFAULT_MAX_TOKENS,
            )
            if answer.error_kind is not None:
                return answer.error_kind
            said = self._gather(answer, talk)
            if said is None or said.finish == "malformed":
                return "malformed"
            if said.finish == "content_filter":
                return "filtered"
            self._append(messages, said.message)
            if not said.calls:
                return None
            answered: list[tuple[Call, str]] = []
            for call in said.calls:
                arguments = read_arguments(call.arguments)
                result = world.answer(call.name, arguments)
                talk.called(ToolCall(call.name, arguments, result))
                answered.append((call, result))
            self._append(messages, self.results(answered))
        return None

    def _gather(self, answer: Answer, talk: Talk) -> Said | None:
        talk.responses.append(answer.response_sha256 or "")
        said = self.read(answer.data)
        talk.count_usage(answer)
        if said is not None:
            talk.finish = said.finish
            if said.text:
                talk.texts.append(said.text)
        return said

    def _append(self, messages: list[dict[str, Any]], message: dict[str, Any]) -> None:
        """Roles alternate in these formats: what follows a message of its own role joins it."""
        if messages and messages[-1]["role"] == message["role"]:
            key = self.parts_key
            messages[-1] = {**messages[-1], key: [*messages[-1][key], *message[key]]}
        else:
            messages.append(message)


def described(request: Request, later: bool) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, description in force, JSON schema) of the planted tools."""
    return [
        (
            t.name,
            t.later_description if later and t.later_description is not None else t.description,
            dict(t.parameters),
        )
        for t in request.tools
    ]
