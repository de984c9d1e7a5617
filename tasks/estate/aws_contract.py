"""A contract fake of AWS control planes: answers shaped and checked by botocore's own service models.

A request is recognised from its signing name, method and path (or X-Amz-Target). Answers come from the estate's data,
are validated against the operation's output shape, enums and patterns included, and are empty listings otherwise.
It knows no state and no permissions, except for the operations it was told to deny.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

SERVICES = ("bedrock", "bedrock-agent", "kendra", "qbusiness", "accessanalyzer")
Answers = Mapping[str, Any]
"""`service:Operation` to an output, or to outputs by the value of the request's first path parameter."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The fake. `answers` as above; `denied` holds `service:Operation` names answered with 403."""

    answers: Answers
    denied: frozenset[str] = frozenset()
    _operations: list[tuple[str, str, str, re.Pattern[str], OperationModel]] = field(default_factory=list)

    @classmethod
    def load(cls, answers: Answers, denied: Iterable[str] = (), services: Iterable[str] = SERVICES) -> Contract:
        """Read the service models and check every answer. Raises ValueError on an answer no AWS service could give."""
        session = botocore.session.get_session()
        contract = cls(answers, frozenset(denied))
        for service in services:
            model: ServiceModel = session.get_service_model(service)
            for name in model.operation_names:
                operation = model.operation_model(name)
                path = operation.http.get("requestUri", "/").split("?")[0]
                pattern = re.compile(re.sub(r"\\{[^}]+\\}", "([^/]+)", re.escape(path)).rstrip("/") + "/?$")
                contract._operations.append(
                    (f"{service}:{name}", model.signing_name, operation.http.get("method", "POST"), pattern, operation)
                )
        for name, answer in answers.items():
            shape = contract.operation(name).output_shape
            for output in answer.values() if _by_parameter(answer, shape) else (answer,):
                validate(output, shape)
        return contract

    def operation(self, name: str) -> OperationModel:
        return next(model for key, *_, model in self._operations if key == name)

    def recognise(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[str, str] | None:
        """(`service:Operation`, first path parameter) of a signed request, or None for services not known here."""
        scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([\w-]+)/aws4_request", headers.get("Authorization", ""))
        if scope is None:
            return None
        target = headers.get("X-Amz-Target", "").rpartition(".")[2]
        best: tuple[str, str] | None = None
        for name, signing, verb, pattern, model in self._operations:
            if signing != scope[1]:
                continue
            if target:
                if model.name == target:
                    return name, ""
                continue
            match = pattern.match(path)
            if verb == method and match:
                parameter = unquote(match[1]) if match.groups() else ""
                if best is None or not parameter:  # a literal path beats one with a parameter
                    best = (name, parameter)
        return best

    def answer(self, name: str, parameter: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON body for an operation: denied, from the data, or an empty listing."""
        if name in self.denied:
            return 403, {"__type": "AccessDeniedException", "message": f"User is not authorized to perform: {name}"}
        shape = self.operation(name).output_shape
        output = self.answers.get(name, {})
        if _by_parameter(output, shape):
            wanted = next((v for k, v in output.items() if k == parameter or parameter.endswith(f"/{k}")), None)
            if wanted is None:
                return 404, {"__type": "ResourceNotFoundException", "message": "The resource does not exist."}
            output = wanted
        if name not in self.answers and isinstance(shape, StructureShape):
            output = {k: [] for k, s in shape.members.items() if isinstance(s, ListShape)}
        return 200, serialise(output, shape)


def _by_parameter(answer: Mapping[str, Any], shape: Shape | None) -> bool:
    return bool(answer) and isinstance(shape, StructureShape) and not set(answer) <= set(shape.members)


def validate(value: Any, shape: Shape | None) -> None:
    """Raise ValueError unless `value` is a possible output: botocore's checks plus the enums and patterns it skips."""
    if shape is None:
        return
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        raise ValueError(report.generate_report())
    _strict(value, shape, shape.name)


def _strict(value: Any, shape: Shape, where: str) -> None:
    if isinstance(shape, StructureShape):
        for name, child in value.items():
            _strict(child, shape.members[name], f"{where}.{name}")
    elif isinstance(shape, ListShape):
        for child in value:
            _strict(child, shape.member, where)
    elif isinstance(shape, MapShape):
        for child in value.values():
            _strict(child, shape.value, where)
    elif shape.type_name == "string":
        allowed = shape.metadata.get("enum") or getattr(shape, "enum", None)
        if allowed and value not in allowed:
            raise ValueError(f"{where}: {value!r} is not one of {', '.join(allowed)}")
        pattern = shape.metadata.get("pattern")
        if pattern and not re.search(pattern, value):
            raise ValueError(f"{where}: {value!r} does not match {pattern}")
        if len(value) > shape.metadata.get("max", len(value)):
            raise ValueError(f"{where}: longer than {shape.metadata['max']}")


def serialise(value: Any, shape: Shape | None) -> Any:
    """`value` as it travels: wire names, timestamps by the shape's format."""
    if isinstance(shape, StructureShape):
        return {shape.members[k].serialization.get("name", k): serialise(v, shape.members[k]) for k, v in value.items()}
    if isinstance(shape, ListShape):
        return [serialise(v, shape.member) for v in value]
    if isinstance(shape, MapShape):
        return {k: serialise(v, shape.value) for k, v in value.items()}
    if isinstance(value, datetime):
        iso = shape is not None and shape.serialization.get("timestampFormat") == "iso8601"
        return value.isoformat().replace("+00:00", "Z") if iso else value.timestamp()
    return value


def encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
