"""Requests to Bedrock are signed so that AWS's own code, on the other side, comes to the same signature."""

from __future__ import annotations

import json
import re
import sys

import httpx
import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from gateway.errors import ConfigError
from gateway.sigv4 import environment_key, signer

KEY = {"AccessKeyId": "ASIA" + "TESTTESTTESTTEST", "SecretAccessKey": "secret/of+the/test", "SessionToken": "token=="}
REGION = "eu-central-1"
ARN = "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.sim-1-v1%3A0"


def expected(method, url, headers, body):
    """The signature over exactly what arrived."""
    auth = SigV4Auth(ReadOnlyCredentials(*KEY.values()), "bedrock", REGION)
    request = AWSRequest(method=method, url=url, data=body)
    request.context["timestamp"] = headers["X-Amz-Date"]
    signed = re.search(r"SignedHeaders=([a-z0-9;-]+)", headers["Authorization"])[1].split(";")
    for name, value in headers.items():
        if name.lower() in signed:
            request.headers[name] = value
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


@pytest.fixture(scope="module")
def shared(speaking, tmp_path_factory):
    secret = tmp_path_factory.mktemp("aws") / "key.json"
    secret.write_text(json.dumps(KEY))
    return speaking(
        "bedrock", ('credential = "file:provider.key"', f'credential = "file:{secret}"\naws_region = "{REGION}"')
    )


@pytest.mark.parametrize("model", ["sim-1", "sim.sim-1-v2%3A0", ARN])
def test_an_upstream_that_verifies_signatures_is_satisfied(gateway, simulator, carriers, model):
    carrier = carriers["bedrock_converse"]
    simulator.reply = carrier.reply("Hello.")
    key = {"Authorization": f"Bearer {gateway.agent_key}"}
    response = httpx.post(f"{gateway.url}/model/{model}/converse", json=carrier.request("ü"), headers=key)
    assert response.status_code == 200
    headers, body = simulator.requests[0]
    url = simulator.url.removesuffix("/v1") + simulator.paths[0]
    assert headers["Authorization"].endswith("Signature=" + expected("POST", url, headers, body))
    assert not headers["Authorization"].endswith(expected("POST", url, headers, body + b" "))
    assert headers["X-Amz-Security-Token"] == KEY["SessionToken"]
    assert f"/{REGION}/bedrock/aws4_request" in headers["Authorization"]
    assert KEY["SecretAccessKey"] not in json.dumps(headers)
    assert gateway.agent_key not in json.dumps(headers)


def test_each_request_has_a_signature_of_its_own(gateway, simulator, carriers):
    carrier = carriers["bedrock_converse"]
    simulator.reply = lambda request, _: web.json_response(carrier.reply("Hello."))
    key = {"Authorization": f"Bearer {gateway.agent_key}"}
    for text in ("one", "two"):
        httpx.post(f"{gateway.url}/model/sim-1/converse", json=carrier.request(text), headers=key)
    one, two = (headers["Authorization"] for headers, _ in simulator.requests)
    assert one != two


def test_the_key_may_stand_in_awss_own_variables(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        environment_key()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    headers = signer(environment_key(), REGION)("", "POST", "https://x.example/model/m/converse", b"{}")
    assert set(headers) == {"X-Amz-Date", "Authorization"}
    monkeypatch.setenv("AWS_SESSION_TOKEN", "c")
    headers = signer(environment_key(), REGION)("", "POST", "https://x.example/model/m/converse", b"{}")
    assert headers["X-Amz-Security-Token"] == "c"


@pytest.mark.parametrize("key", ["plain-text-key", "[]", "{}", '{"AccessKeyId": "a"}', '{"AccessKeyId": 1}'])
def test_a_key_of_another_form_is_refused_without_being_shown(key):
    with pytest.raises(ConfigError, match="AccessKeyId and SecretAccessKey") as caught:
        signer(key, REGION)
    assert "plain-text-key" not in str(caught.value)


def test_without_botocore_the_settings_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    with pytest.raises(ConfigError, match="botocore"):
        signer(json.dumps(KEY), REGION)
