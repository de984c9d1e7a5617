"""Read-only access to AWS: a client that can call only what its source lists, and the policy that allows just that."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tasks.errors import AispmError
from tasks.records import Completeness, ProofLabel
from tasks.settings import AwsSettings

MAX_ITEMS = 1_000
"""Of one listing; more makes the result partial."""
IAM_PREFIX = {"bedrock": "bedrock", "bedrock-agent": "bedrock", "sagemaker": "sagemaker", "sts": "sts"}
"""botocore service name -> prefix of its IAM actions (bedrock-agent is authorised as bedrock)."""
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnrecognizedClientException",
           "ExpiredTokenException", "InvalidClientTokenId")  # fmt: skip


class OperationRefused(AispmError):  # noqa: N818 - a refusal of ours, not an error of AWS
    """A source called an operation that its `needs` does not list."""


@dataclass
class AwsReader:
    """One region's clients behind a fence, and what could not be read."""

    settings: AwsSettings
    region: str
    needs: tuple[str, ...]
    timeout_s: float
    problems: dict[str, str] = field(default_factory=dict)
    """Operation -> `denied` or `error CODE`."""
    calls: list[str] = field(default_factory=list)
    _clients: dict[str, Any] = field(default_factory=dict)

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """The reply without its metadata; None when AWS refused or failed, which is recorded in `problems`."""
        from botocore.exceptions import BotoCoreError, ClientError

        name = f"{service}:{operation}"
        client = self._client(service)
        try:
            method = next(m for m, api in client.meta.method_to_api_mapping.items() if api == operation)
            reply = getattr(client, method)(**arguments)
        except ClientError as e:
            code = str(e.response.get("Error", {}).get("Code", "unknown"))
            # A missing object is an answer, not a failure to read: it went away between two calls.
            if code not in ("ResourceNotFoundException", "NoSuchEntity"):
                self.problems[name] = "denied" if code in _DENIED else f"error {code}"
            return None
        except BotoCoreError as e:
            self.problems[name] = f"error {type(e).__name__}"
            return None
        reply.pop("ResponseMetadata", None)
        return dict(reply)

    def items(self, service: str, operation: str, key: str, token: str = "nextToken") -> Iterator[dict[str, Any]]:  # noqa: S107 - the name of a paging field
        """All items of a listing over its pages, up to MAX_ITEMS."""
        count = 0
        after: dict[str, str] = {}
        seen: set[str] = set()
        while (reply := self.call(service, operation, **after)) is not None:
            for item in reply.get(key) or []:
                count += 1
                if count > MAX_ITEMS:
                    self.problems[f"{service}:{operation}"] = f"error more than {MAX_ITEMS} items"
                    return
                yield item
            following = reply.get(token)
            if not following or following in seen:
                return
            seen.add(following)
            after = {token: following}

    @property
    def account(self) -> str | None:
        reply = self.call("sts", "GetCallerIdentity")
        return reply.get("Account") if reply else None

    @property
    def proof(self) -> ProofLabel:
        host = urlsplit(self.settings.endpoint_url or "").hostname or ""
        fake = bool(host) and not (host.endswith((".amazonaws.com", ".amazonaws.com.cn")))
        return ProofLabel.OFFICIAL_SHAPE_FAKE if fake else ProofLabel.REAL_COMPONENT

    def state(self, listings: Sequence[str]) -> tuple[Completeness, str]:
        """How completely this region was read, given the listings that matter."""
        if not self.problems:
            return Completeness.FULL, ""
        reason = "; ".join(f"{name} {what}" for name, what in sorted(self.problems.items()))
        if all(name in self.problems for name in listings):
            denied = all(self.problems[name] == "denied" for name in listings)
            return (Completeness.DENIED if denied else Completeness.ERROR), reason
        return Completeness.PARTIAL, reason

    def _client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        if service not in self._clients:
            extra: dict[str, Any] = {}
            if self.proof == ProofLabel.OFFICIAL_SHAPE_FAKE and "AWS_ACCESS_KEY_ID" not in os.environ:
                # A test double takes any key; real credentials on this machine must not be sent to it.
                extra = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
            client = boto3.session.Session().client(
                service,  # type: ignore[call-overload]  # the service name is data here
                region_name=self.region,
                endpoint_url=self.settings.endpoint_url,
                config=Config(
                    connect_timeout=self.timeout_s,
                    read_timeout=self.timeout_s,
                    retries={"max_attempts": 2, "mode": "standard"},
                ),
                **extra,
            )
            client.meta.events.register("before-call", self._fence(service))
            self._clients[service] = client
        return self._clients[service]

    def _fence(self, service: str) -> Callable[..., None]:
        def before_call(model: Any, **_: Any) -> None:
            name = f"{service}:{model.name}"
            if name not in self.needs:
                raise OperationRefused(f"{name} is not among the operations this source may call")
            self.calls.append(name)

        return before_call


def print_access(needs: Sequence[str]) -> str:
    """The smallest IAM policy for `needs`, as JSON text."""
    actions = sorted(
        {f"{IAM_PREFIX[service]}:{operation}" for service, _, operation in (n.partition(":") for n in needs)}
    )
    statement = {"Sid": "AispmReadOnly", "Effect": "Allow", "Action": actions, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)
