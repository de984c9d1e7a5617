from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tasks.estate import aws
from tasks.estate.aws_contract import Contract
from tasks.estate.variants import all_on, hardened, vulnerable


@contextmanager
def account(
    serve: Callable[..., Any], variant: frozenset[str], denied: frozenset[str] = frozenset()
) -> Iterator[Callable[[str], Any]]:
    """Clients of one account; moto's state is the process's, so it is reset first."""
    import httpx
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        httpx.post(f"{url}/moto-api/reset")
        aws.seed(url, variant)
        with serve(lambda: aws.build(variant, url, denied)) as endpoint:
            yield lambda service: boto3.client(  # type: ignore[call-overload]  # the service name is data here
                service,
                region_name=aws.REGION,
                endpoint_url=endpoint,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
                config=Config(retries={"max_attempts": 1}),
            )
    finally:
        moto.stop()


def test_boto3_reads_moto_and_the_fake_at_one_address(serve: Callable[..., Any]) -> None:
    with account(serve, all_on(), frozenset({"bedrock:ListProvisionedModelThroughputs"})) as client:
        assert client("sts").get_caller_identity()["Account"] == aws.ACCOUNT
        agents = client("bedrock-agent")
        (summary,) = agents.list_agents()["agentSummaries"]
        agent = agents.get_agent(agentId=summary["agentId"])["agent"]
        assert agent["agentName"] == "claims-triage"
        assert isinstance(agent["createdAt"], datetime)
        assert "guardrailConfiguration" not in agent
        (base,) = agents.list_knowledge_bases()["knowledgeBaseSummaries"]
        assert (
            agents.get_knowledge_base(knowledgeBaseId=base["knowledgeBaseId"])["knowledgeBase"]["name"]
            == "branch-handbook"
        )
        bedrock = client("bedrock")
        (rail,) = bedrock.list_guardrails()["guardrails"]
        filters = bedrock.get_guardrail(guardrailIdentifier=rail["id"])["contentPolicy"]["filters"]
        assert {f["type"]: f["inputStrength"] for f in filters}["PROMPT_ATTACK"] == "LOW"
        assert bedrock.list_foundation_models()["modelSummaries"][0]["providerName"] == "Anthropic"
        (imported,) = bedrock.list_imported_models()["modelSummaries"]
        assert "modelKmsKeyArn" not in bedrock.get_imported_model(modelIdentifier=imported["modelArn"])
        assert [m["modelName"] for m in bedrock.list_custom_models()["modelSummaries"]] == ["nimbus-tone"]
        assert "loggingConfig" not in bedrock.get_model_invocation_logging_configuration()
        assert bedrock.list_inference_profiles()["inferenceProfileSummaries"] == []
        with pytest.raises(ClientError, match="AccessDenied"):
            bedrock.list_provisioned_model_throughputs()
        with pytest.raises(ClientError, match="ResourceNotFound"):
            bedrock.get_guardrail(guardrailIdentifier="nothere")
        sagemaker = client("sagemaker")
        book = sagemaker.describe_notebook_instance(NotebookInstanceName="fraud-research")
        assert (book["DirectInternetAccess"], book["RootAccess"]) == ("Enabled", "Enabled")
        assert not sagemaker.describe_model(ModelName="card-fraud-scorer").get("VpcConfig")
        assert "KmsKeyId" not in sagemaker.describe_endpoint_config(EndpointConfigName="card-fraud-config")
        assert [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]] == ["card-fraud"]


def test_the_hardened_account_has_closed_every_gap(serve: Callable[..., Any]) -> None:
    with account(serve, hardened()) as client:
        agent = client("bedrock-agent").get_agent(agentId=aws.AGENT)["agent"]
        assert agent["guardrailConfiguration"]["guardrailIdentifier"] == aws.GUARDRAIL
        rail = client("bedrock").get_guardrail(guardrailIdentifier=aws.GUARDRAIL)
        assert {f["type"]: f["inputStrength"] for f in rail["contentPolicy"]["filters"]}["PROMPT_ATTACK"] == "HIGH"
        assert rail["sensitiveInformationPolicy"]["piiEntities"]
        assert client("bedrock").get_model_invocation_logging_configuration()["loggingConfig"][
            "textDataDeliveryEnabled"
        ]
        book = client("sagemaker").describe_notebook_instance(NotebookInstanceName="fraud-research")
        assert (book["DirectInternetAccess"], book["RootAccess"]) == ("Disabled", "Disabled")
        assert client("sagemaker").describe_model(ModelName="card-fraud-scorer")["EnableNetworkIsolation"]
        assert client("sagemaker").describe_endpoint_config(EndpointConfigName="card-fraud-config")["KmsKeyId"]


def test_each_cloud_switch_weakens_its_own_service() -> None:
    assert aws.answers(vulnerable("sagemaker_open")) == aws.answers(hardened())
    assert aws.answers(vulnerable("bedrock_unguarded")) == aws.answers(all_on()) != aws.answers(hardened())


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", "WORKING"), ("name", 7), ("guardrailArn", "not an arn"), ("unheard_of", "x"), ("name", "n" * 60)],
)
def test_an_answer_no_service_could_give_is_refused(field: str, value: Any) -> None:
    rail = aws.answers(all_on())["bedrock:GetGuardrail"][aws.GUARDRAIL] | {field: value}
    with pytest.raises(ValueError, match=r"."):
        Contract.load({"bedrock:GetGuardrail": {aws.GUARDRAIL: rail}}, services=("bedrock",))


def test_requests_are_recognised_by_service_method_and_path() -> None:
    contract = Contract.load(aws.answers(all_on()), services=("bedrock", "bedrock-agent"))
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=k/20260302/eu-central-1/bedrock/aws4_request, Signature=x"}
    assert contract.recognise("GET", "/guardrails", signed) == ("bedrock:ListGuardrails", "")
    assert contract.recognise("GET", "/guardrails/gr0", signed) == ("bedrock:GetGuardrail", "gr0")
    assert contract.recognise("GET", "/agents/A1/", signed) == ("bedrock-agent:GetAgent", "A1")
    assert contract.recognise("POST", "/agents/", signed) == ("bedrock-agent:ListAgents", "")
    assert contract.recognise("GET", "/guardrails", {}) is None
    assert (
        datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
        .isoformat()
        .startswith(str(contract.answer("bedrock:ListGuardrails", "")[1]["guardrails"][0]["createdAt"])[:10])
    )
