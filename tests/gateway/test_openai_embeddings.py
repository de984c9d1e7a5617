"""OpenAI embeddings: texts are inspected, vectors are only vectors."""

from __future__ import annotations

import base64
import json
import struct

import pytest

AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
PATH = "/v1/embeddings"


def vectors(*embeddings, **more):
    data = [{"object": "embedding", "index": n, "embedding": e} for n, e in enumerate(embeddings)]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return {"object": "list", "data": data, "model": "sim-1", "usage": usage, **more}


def ask(gateway, given, **more):
    return gateway.post({"model": "sim-1", "input": given, **more}, path=PATH)


@pytest.mark.parametrize("vector", [[0.1, -1, 2e-9], base64.b64encode(struct.pack("<3f", 0.1, -1, 2)).decode()])
def test_vectors_pass_as_they_are(gateway, simulator, vector):
    simulator.reply = vectors(vector, vector)
    response = ask(gateway, ["one", "two"], dimensions=3)
    assert (response.status_code, response.json()) == (200, simulator.reply)
    assert json.loads(simulator.requests[0][1]) == {"model": "sim-1", "input": ["one", "two"], "dimensions": 3}
    (row,) = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    assert (row["wire_format"], row["tokens_in"], row["tokens_out"]) == ("openai_embeddings", 4, 0)


@pytest.mark.parametrize("given", [AWS, ["fine", AWS]])
def test_texts_are_inspected(gateway, simulator, given):
    response = ask(gateway, given)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "DLP.SECRET.AWS_ACCESS_KEY")
    assert simulator.requests == []


@pytest.mark.parametrize(
    ("detail", "given"),
    [("part", [1, 2]), ("part", [[1, 2]]), ("part", ["one", 2]), ("shape", []), ("shape", ""), ("shape", {"a": 1})],
)
def test_token_numbers_and_other_shapes_are_refused(gateway, simulator, detail, given):
    response = ask(gateway, given)
    assert (response.status_code, response.json()["error"]["code"].split(":")[1]) == (400, detail)
    assert simulator.requests == []


@pytest.mark.parametrize(
    "reply", [{"data": 5}, {"data": [5]}, vectors(["x"]), vectors([True]), vectors("a b"), vectors(5)]
)
def test_a_reply_that_is_no_vector_is_refused(gateway, simulator, reply):
    simulator.reply = reply
    assert ask(gateway, "x").json()["error"]["code"] == "WIRE.MALFORMED:upstream"


def test_what_stands_around_vectors_is_inspected(gateway, simulator):
    simulator.reply = vectors([0.5], note=AWS)
    assert ask(gateway, "x").json()["note"] == "[REDACTED:aws_access_key_id]"
