"""The AWS sources against an in-process double of AWS, behind the fence of their own operation lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer

from tasks.discovery import SourceContext, asset_rows, discover
from tasks.discovery.aws_access import AwsReader, OperationRefused, print_access
from tasks.discovery.aws_bedrock import AwsBedrock
from tasks.discovery.aws_sagemaker import AwsSageMaker
from tasks.discovery.inventory import Inventory
from tasks.discovery.source import utc_now
from tasks.records import Completeness, ProofLabel, SourceResult
from tasks.settings import AwsSettings, DiscoverySettings, Settings

REGION = "eu-central-1"
ROLE = "arn:aws:iam::123456789012:role/agents"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    make = {
        "region_name": REGION,
        "endpoint_url": url,
        "aws_access_key_id": "none",
        "aws_secret_access_key": "none",
    }
    agents: Any = boto3.client("bedrock-agent", **make)  # type: ignore[call-overload]  # keyword arguments as data
    for name in ("loans", "'; drop table x; --"):
        agents.create_agent(
            agentName=name.replace("'", "").replace(";", "").replace(" ", "-"), agentResourceRoleArn=ROLE
        )
    agents.create_knowledge_base(
        name="policies",
        roleArn=ROLE,
        knowledgeBaseConfiguration={
            "type": "VECTOR",
            "vectorKnowledgeBaseConfiguration": {"embeddingModelArn": "arn:aws:bedrock:::foundation-model/e5"},
        },
        storageConfiguration={
            "type": "PINECONE",
            "pineconeConfiguration": {
                "connectionString": "https://x.example",
                "credentialsSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-abcdef",
                "fieldMapping": {"textField": "t", "metadataField": "m"},
            },
        },
    )
    maker: Any = boto3.client("sagemaker", **make)  # type: ignore[call-overload]  # keyword arguments as data
    maker.create_notebook_instance(
        NotebookInstanceName="lab", InstanceType="ml.t3.medium", RoleArn=ROLE, RootAccess="Enabled"
    )
    maker.create_model(ModelName="scorer", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "img:1"})
    yield url
    server.stop()


def collect(source: str, url: str | None) -> list[SourceResult]:
    aws = AwsSettings(enabled=True, regions=(REGION,), endpoint_url=url)
    settings = Settings(discovery=DiscoverySettings(timeout_s=5, aws=aws))
    return discover(source, SourceContext(settings, Inventory(Path("none"))))


def test_bedrock_is_read(endpoint: str) -> None:
    [result] = collect("aws_bedrock", endpoint)
    by_type: dict[str, list[Any]] = {}
    for o in result.observations:
        by_type.setdefault(o.props["cloud_type"], []).append(o)
    assert {o.name for o in by_type["bedrock_agent"]} == {"loans", "-drop-table-x---"}
    agent = by_type["bedrock_agent"][0]
    assert agent.props["guardrail_ref"] is None
    assert agent.props["principal"] == ROLE
    assert agent.natural_keys["arn"].startswith("arn:aws:bedrock:")
    assert [o.name for o in by_type["bedrock_knowledge_base"]] == ["policies"]
    assert by_type["bedrock_region"][0].props["invocation_logging"] is False
    assert {o.proof_label for o in result.observations} == {ProofLabel.OFFICIAL_SHAPE_FAKE}
    # What the double does not answer is named, and the rest stands.
    assert result.completeness in (Completeness.PARTIAL, Completeness.FULL)
    if result.completeness == Completeness.PARTIAL:
        assert "bedrock:ListGuardrails error" in result.reason


def test_sagemaker_is_read(endpoint: str) -> None:
    [result] = collect("aws_sagemaker", endpoint)
    assert (result.completeness, result.reason) == (Completeness.FULL, "")
    props = {o.name: o.props for o in result.observations}
    assert (props["lab"]["direct_internet"], props["lab"]["root_access"]) == (True, True)
    assert (props["scorer"]["network_isolation"], props["scorer"]["vpc"]) == (False, False)
    rows = asset_rows([result], [], "r", utc_now())
    assert len(rows["asset_versions"]) == len(result.observations)


def test_a_dead_endpoint_is_an_error_not_an_empty_account() -> None:
    results = collect("aws_sagemaker", "http://127.0.0.1:9")
    assert [r.completeness for r in results] == [Completeness.ERROR]
    assert results[0].observations == ()


def test_switched_off_means_no_result() -> None:
    assert discover("aws_bedrock", SourceContext(Settings(), Inventory(Path("none")))) == []


def test_only_listed_operations_pass_the_fence(endpoint: str) -> None:
    aws = AwsSettings(enabled=True, endpoint_url=endpoint)
    reader = AwsReader(aws, REGION, ("sagemaker:ListModels",), 5)
    assert reader.call("sagemaker", "ListModels") is not None
    with pytest.raises(OperationRefused):
        reader.call("sagemaker", "DeleteModel", ModelName="scorer")
    assert reader.calls == ["sagemaker:ListModels"]
    assert AwsReader(aws, REGION, ("sagemaker:ListModels",), 5).call("sagemaker", "ListModels")["Models"]  # type: ignore[index]  # read above


def test_a_denied_operation_is_recorded_as_denied() -> None:
    reader = AwsReader(AwsSettings(enabled=True, endpoint_url="http://127.0.0.1:9"), REGION, AwsBedrock.needs, 1)
    client = reader._client("bedrock")
    with Stubber(client) as stub:
        stub.add_client_error("list_guardrails", "AccessDeniedException")
        assert list(reader.items("bedrock", "ListGuardrails", "guardrails")) == []
    assert reader.problems == {"bedrock:ListGuardrails": "denied"}
    assert reader.state(["bedrock:ListGuardrails"])[0] == Completeness.DENIED
    assert reader.state(["bedrock:ListGuardrails", "bedrock:ListCustomModels"])[0] == Completeness.PARTIAL


def test_a_guardrail_of_the_official_shape_is_understood() -> None:
    """Stubber validates the reply against the service model, so these are the fields AWS returns."""
    aws = AwsSettings(enabled=True, endpoint_url="http://127.0.0.1:9")
    settings = Settings(discovery=DiscoverySettings(aws=aws))
    reader = AwsReader(aws, REGION, AwsBedrock.needs, 1)
    arn = "arn:aws:bedrock:eu-central-1:123456789012:guardrail/gr1"
    with Stubber(reader._client("bedrock")) as stub:
        summary = {"id": "gr1", "arn": arn, "status": "READY", "name": "bank", "version": "1"}
        times = {"createdAt": utc_now(), "updatedAt": utc_now()}
        stub.add_response("list_guardrails", {"guardrails": [{**summary, **times}]})
        stub.add_response(
            "get_guardrail",
            {
                "name": "bank", "guardrailId": "gr1", "guardrailArn": arn, "version": "1", "status": "READY", **times,
                "contentPolicy": {
                    "filters": [{"type": "PROMPT_ATTACK", "inputStrength": "LOW", "outputStrength": "NONE"}]
                },
                "sensitiveInformationPolicy": {"piiEntities": [{"type": "EMAIL", "action": "NONE"}]},
                "blockedInputMessaging": "no", "blockedOutputsMessaging": "no",
            },
        )  # fmt: skip
        context = SourceContext(settings, Inventory(Path("none")))
        [rail] = AwsBedrock()._guardrails(context, reader)
    assert rail.props["prompt_attack_strength"] == "LOW"
    assert (rail.props["pii_filters"], rail.props["pii_enforced_on_output"]) == (1, False)
    assert rail.props["grounding_filters"] == 0


def test_amazon_itself_is_a_real_component() -> None:
    real = AwsSettings(enabled=True, endpoint_url="https://bedrock.eu-central-1.amazonaws.com")
    assert AwsReader(real, REGION, (), 1).proof == ProofLabel.REAL_COMPONENT
    assert AwsReader(AwsSettings(enabled=True), REGION, (), 1).proof == ProofLabel.REAL_COMPONENT
    spoof = AwsSettings(enabled=True, endpoint_url="https://amazonaws.com.evil.example")
    assert AwsReader(spoof, REGION, (), 1).proof == ProofLabel.OFFICIAL_SHAPE_FAKE


def test_the_printed_policy_allows_the_listed_reads_and_nothing_else() -> None:
    policy = json.loads(print_access([*AwsBedrock.needs, *AwsSageMaker.needs]))
    [statement] = policy["Statement"]
    assert "bedrock:GetAgent" in statement["Action"]
    assert all(a.split(":")[1].startswith(("Get", "List", "Describe")) for a in statement["Action"])
    assert not any("*" in action for action in statement["Action"])
    assert len(statement["Action"]) == len(AwsBedrock.needs) + len(AwsSageMaker.needs)
