"""Amazon Bedrock's Converse: `POST {url}/model/{model}/converse`, with a bearer key or signed (SigV4).

With a `credential` its key is sent as a bearer token; without one, requests are signed with what the AWS credential
chain finds, for the region named in `props.region` or in the address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tasks.errors import ConfigError
from tasks.records import Asset
from tasks.targets.conversation import Call, ClientToolTarget, Said, described
from tasks.targets.target import Request
from tasks.targets.wire import Signer, Wire

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "malformed",
    "malformed_tool_use": "malformed",
}
_REGION = re.compile(r"://bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


class BedrockConverse(ClientToolTarget):
    def __init__(self, asset: Asset, wire: Wire) -> None:
        super().__init__(asset, wire)
        self._signer = None if asset.props.get("credential") else _sigv4(asset, self._url)

    def place(self) -> str:
        return f"{self._url}/model/{quote(self._model, safe='')}/converse"

    def headers(self, secret: str | None) -> Mapping[str, str]:
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def signer(self, secret: str | None) -> Signer | None:
        return self._signer

    def message(self, role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"text": text}]}

    def picture(self, encoded: str) -> dict[str, Any]:
        return {"image": {"format": "png", "source": {"bytes": encoded}}}

    def body(self, request: Request, messages: Sequence[Mapping[str, Any]], later: bool) -> dict[str, Any]:
        inference: dict[str, Any] = {"temperature": 0}
        if request.max_tokens is not None:
            inference["maxTokens"] = request.max_tokens
        body: dict[str, Any] = {"messages": list(messages), "inferenceConfig": inference}
        if request.system is not None:
            body["system"] = [{"text": request.system}]
        if request.tools:
            specs = [
                {"toolSpec": {"name": name, "description": text, "inputSchema": {"json": schema}}}
                for name, text, schema in described(request, later)
            ]
            body["toolConfig"] = {"tools": specs}
        return body

    def read(self, data: Mapping[str, Any]) -> Said | None:
        output = data.get("output")
        message = output.get("message") if isinstance(output, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            return None
        texts: list[str] = []
        calls: list[Call] = []
        for block in content:
            if not isinstance(block, dict):
                return None
            if isinstance(block.get("text"), str):
                texts.append(block["text"])
            if "toolUse" in block:
                use = block["toolUse"]
                if not isinstance(use, dict) or not isinstance(use.get("toolUseId"), str):
                    return None
                if not isinstance(use.get("name"), str):
                    return None
                calls.append(Call(use["toolUseId"], use["name"], use.get("input")))
        finish = _FINISH.get(str(data.get("stopReason")), "stop")
        return Said({"role": "assistant", "content": content}, "\n".join(texts), tuple(calls), finish)

    def results(self, answered: Sequence[tuple[Call, str]]) -> dict[str, Any]:
        blocks = [{"toolResult": {"toolUseId": c.identifier, "content": [{"text": text}]}} for c, text in answered]
        return {"role": "user", "content": blocks}


def _sigv4(asset: Asset, url: str) -> Signer:
    """Raises ConfigError when the region or the credentials are missing."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.session import Session

    found = _REGION.search(url)
    region = str(asset.props.get("region") or (found[1] if found else ""))
    if not region:
        raise ConfigError(f"{asset.asset_id}: the AWS region is unknown; add `region` to its props")
    credentials = Session().get_credentials()
    if credentials is None:
        raise ConfigError(f"{asset.asset_id}: no AWS credentials found; set `credential` or provide the usual AWS ones")

    def sign(method: str, url: str, body: bytes) -> Mapping[str, str]:
        request = AWSRequest(method=method, url=url, data=body, headers={"content-type": "application/json"})
        SigV4Auth(credentials.get_frozen_credentials(), "bedrock", region).add_auth(request)
        return dict(request.headers.items())

    return sign
