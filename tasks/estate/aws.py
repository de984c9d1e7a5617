"""The bank's AWS account at one address: a moto server for what it knows, the contract fake for the rest.

Listed operations are answered by the fake; everything else goes to moto, and what moto answers with a server error
falls back to the fake when it is a read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import boto3
import httpx
from aiohttp import web
from botocore.config import Config

from tasks.estate import bank
from tasks.estate.aws_contract import Contract
from tasks.estate.variants import Variant

REGION = "eu-central-1"
ACCOUNT = "123456789012"
_MADE = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_ROLE = f"arn:aws:iam::{ACCOUNT}:role/nimbus-ai"
_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
GUARDRAIL = "gr0nimbus1"
AGENT = "AGNIMBUS01"


def answers(variant: Variant) -> dict[str, Any]:
    """What the fake serves: Bedrock's agents, guardrails and models, weak or hardened."""
    weak = "bedrock_unguarded" in variant
    rail_arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:guardrail/{GUARDRAIL}"
    agent: dict[str, Any] = {
        "agentId": AGENT,
        "agentName": "claims-triage",
        "agentArn": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:agent/{AGENT}",
        "agentVersion": "DRAFT",
        "agentStatus": "PREPARED",
        "idleSessionTTLInSeconds": 1800,
        "agentResourceRoleArn": f"arn:aws:iam::{ACCOUNT}:role/AmazonBedrockExecutionRoleForAgents_nimbus",
        "foundationModel": "anthropic.claude-3-haiku-20240307-v1:0",
        "instruction": "Sort incoming insurance claims of Nimbus Bank customers by urgency and department.",
        "createdAt": _MADE,
        "updatedAt": _MADE,
    }
    if not weak:
        agent |= {
            "guardrailConfiguration": {"guardrailIdentifier": GUARDRAIL, "guardrailVersion": "3"},
            "customerEncryptionKeyArn": _KEY,
        }
    strength = "LOW" if weak else "HIGH"
    rail: dict[str, Any] = {
        "name": "nimbus-baseline",
        "guardrailId": GUARDRAIL,
        "guardrailArn": rail_arn,
        "version": "3",
        "status": "READY",
        "createdAt": _MADE,
        "updatedAt": _MADE,
        "blockedInputMessaging": "This request cannot be processed.",
        "blockedOutputsMessaging": "This answer cannot be shown.",
        "contentPolicy": {
            "filters": [
                {"type": "PROMPT_ATTACK", "inputStrength": strength, "outputStrength": "NONE"},
                {"type": "HATE", "inputStrength": "HIGH", "outputStrength": "HIGH"},
            ]
        },
    }
    if not weak:
        rail["sensitiveInformationPolicy"] = {
            "piiEntities": [
                {"type": "EMAIL", "action": "ANONYMIZE"},
                {"type": "INTERNATIONAL_BANK_ACCOUNT_NUMBER", "action": "BLOCK"},
            ]
        }
        rail["contextualGroundingPolicy"] = {"filters": [{"type": "GROUNDING", "threshold": 0.75}]}
    imported: dict[str, Any] = {
        "modelArn": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:imported-model/nimbusllm001",
        "modelName": "nimbus-mistral-import",
        "jobName": "import-2026-03",
        "jobArn": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-import-job/nimbusimport",
        "modelDataSource": {"s3DataSource": {"s3Uri": "s3://nimbus-models/mistral-7b/"}},
        "creationTime": _MADE,
        "modelArchitecture": "mistral",
        "instructSupported": True,
    } | ({} if weak else {"modelKmsKeyArn": _KEY})
    foundation = {
        "modelArn": f"arn:aws:bedrock:{REGION}::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
        "modelId": "anthropic.claude-3-haiku-20240307-v1:0",
        "modelName": "Claude 3 Haiku",
        "providerName": "Anthropic",
        "inputModalities": ["TEXT"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "modelLifecycle": {"status": "ACTIVE"},
    }
    # AWS leaves the member out when logging is off; moto sends an empty one.
    unlogged: dict[str, Any] = {"bedrock:GetModelInvocationLoggingConfiguration": {}} if weak else {}
    return unlogged | {
        "bedrock-agent:ListAgents": {
            "agentSummaries": [{k: agent[k] for k in ("agentId", "agentName", "agentStatus", "updatedAt")}]
        },
        "bedrock-agent:GetAgent": {AGENT: {"agent": agent}},
        "bedrock:ListGuardrails": {
            "guardrails": [
                {
                    "id": GUARDRAIL,
                    "arn": rail_arn,
                    "status": "READY",
                    "name": rail["name"],
                    "version": "3",
                    "createdAt": _MADE,
                    "updatedAt": _MADE,
                }
            ]
        },
        "bedrock:GetGuardrail": {GUARDRAIL: rail},
        "bedrock:ListFoundationModels": {"modelSummaries": [foundation]},
        "bedrock:GetFoundationModel": {foundation["modelId"]: {"modelDetails": foundation}},
        "bedrock:ListImportedModels": {
            "modelSummaries": [
                {
                    "modelArn": imported["modelArn"],
                    "modelName": imported["modelName"],
                    "creationTime": _MADE,
                    "modelArchitecture": "mistral",
                }
            ]
        },
        "bedrock:GetImportedModel": {imported["modelName"]: imported, imported["modelArn"]: imported},
    }


def seed(endpoint: str, variant: Variant) -> None:
    """Fill moto with SageMaker and Bedrock resources. Raises botocore's errors when moto does not take them."""

    def client(service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]  # the service name is data here
            service,
            region_name=REGION,
            endpoint_url=endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",  # noqa: S106 - moto takes any
            config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=20),
        )

    # moto draws its ids at random; a fixed seed gives the account the same ids, and so the same assets, on every start.
    httpx.post(f"{endpoint}/moto-api/seed", params={"a": "1"}, timeout=20, trust_env=False).raise_for_status()
    open_ = "sagemaker_open" in variant
    sagemaker = client("sagemaker")
    sagemaker.create_notebook_instance(
        NotebookInstanceName="fraud-research",
        InstanceType="ml.t3.medium",
        RoleArn=_ROLE,
        DirectInternetAccess="Enabled" if open_ else "Disabled",
        RootAccess="Enabled" if open_ else "Disabled",
        **({} if open_ else {"SubnetId": "subnet-0a1b2c3d", "SecurityGroupIds": ["sg-0a1b2c3d"], "KmsKeyId": _KEY}),
    )
    private = (
        {}
        if open_
        else {
            "EnableNetworkIsolation": True,
            "VpcConfig": {"SecurityGroupIds": ["sg-0a1b2c3d"], "Subnets": ["subnet-0a1b2c3d"]},
        }
    )
    sagemaker.create_model(
        ModelName="card-fraud-scorer",
        ExecutionRoleArn=_ROLE,
        PrimaryContainer={
            "Image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/fraud:latest",
            "ModelDataUrl": "s3://nimbus-models/fraud/model.tar.gz",
        },
        **private,
    )
    variants = [
        {
            "VariantName": "main",
            "ModelName": "card-fraud-scorer",
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
            "InitialVariantWeight": 1.0,
        }
    ]
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 10,
        "DestinationS3Uri": "s3://nimbus-capture/",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    sagemaker.create_endpoint_config(
        EndpointConfigName="card-fraud-config",
        ProductionVariants=variants,
        **({} if open_ else {"KmsKeyId": _KEY, "DataCaptureConfig": capture}),
    )
    sagemaker.create_endpoint(EndpointName="card-fraud", EndpointConfigName="card-fraud-config")
    bedrock = client("bedrock")
    job: dict[str, Any] = {
        "jobName": "tone-tuning",
        "customModelName": "nimbus-tone",
        "roleArn": _ROLE,
        "baseModelIdentifier": "amazon.titan-text-express-v1",
        "trainingDataConfig": {"s3Uri": "s3://nimbus-training/tone.jsonl"},
        "outputDataConfig": {"s3Uri": "s3://nimbus-training/out/"},
        "hyperParameters": {"epochCount": "2"},
    }
    if "bedrock_unguarded" not in variant:
        job["customModelKmsKeyId"] = _KEY
        bedrock.put_model_invocation_logging_configuration(
            loggingConfig={
                "s3Config": {"bucketName": "nimbus-ai-logs", "keyPrefix": "bedrock"},
                "textDataDeliveryEnabled": True,
                "imageDataDeliveryEnabled": True,
                "embeddingDataDeliveryEnabled": True,
            }
        )
    bedrock.create_model_customization_job(**job)
    client("bedrock-agent").create_knowledge_base(
        name="branch-handbook",
        roleArn=_ROLE,
        knowledgeBaseConfiguration={
            "type": "VECTOR",
            "vectorKnowledgeBaseConfiguration": {
                "embeddingModelArn": f"arn:aws:bedrock:{REGION}::foundation-model/amazon.titan-embed-text-v2:0"
            },
        },
        storageConfiguration={
            "type": "OPENSEARCH_SERVERLESS",
            "opensearchServerlessConfiguration": {
                "collectionArn": f"arn:aws:aoss:{REGION}:{ACCOUNT}:collection/handbook000000000001",
                "vectorIndexName": "handbook",
                "fieldMapping": {"vectorField": "v", "textField": "t", "metadataField": "m"},
            },
        },
    )


def build(variant: Variant, moto_url: str, denied: frozenset[str] = frozenset()) -> web.Application:
    """The account's one endpoint, in front of the moto server at `moto_url`."""
    isolated = {} if "sagemaker_open" in variant else {"SageMaker.DescribeModel": {"EnableNetworkIsolation": True}}
    router = _Router(Contract.load(answers(variant), denied), moto_url, isolated)
    app = web.Application(client_max_size=8 * 2**20)
    app.router.add_route("*", "/{path:.*}", router.route)
    app.cleanup_ctx.append(router.connected)
    return app


class _Router:
    def __init__(self, contract: Contract, moto_url: str, amended: Mapping[str, dict[str, Any]]) -> None:
        """`amended` holds, by target, members that moto takes at creation and then forgets."""
        self._contract, self._moto, self._amended = contract, moto_url, amended
        self._client: aiohttp.ClientSession

    async def connected(self, app: web.Application) -> Any:
        self._client = aiohttp.ClientSession(auto_decompress=False)
        yield
        await self._client.close()

    async def route(self, request: web.Request) -> web.Response:
        path = request.raw_path.split("?")[0]  # as sent: an ARN in the path holds encoded slashes
        found = self._contract.recognise(request.method, path, request.headers)
        name, parameter = found or ("", "")
        if name in self._contract.denied or name in self._contract.answers:
            return self._fake(name, parameter)
        body = await request.read()
        try:
            async with self._client.request(
                request.method,
                self._moto + request.raw_path,
                data=body,
                headers={
                    k: v for k, v in request.headers.items() if k.lower() not in ("content-length", "transfer-encoding")
                },
                allow_redirects=False,
            ) as reply:
                content = await reply.read()
                if reply.status >= 500 and name.partition(":")[2].startswith(("List", "Get", "Describe", "Search")):
                    return self._fake(name, parameter)
                forgotten = self._amended.get(request.headers.get("X-Amz-Target", ""))
                if forgotten and reply.status == 200:
                    content = json.dumps(json.loads(content) | forgotten).encode()
                headers = {
                    k: v
                    for k, v in reply.headers.items()
                    if k.lower() not in ("content-length", "transfer-encoding", "connection", "content-encoding")
                }
                return web.Response(status=reply.status, body=content, headers=headers)
        except (TimeoutError, aiohttp.ClientError):
            return web.Response(status=503, text="the account is not ready")

    def _fake(self, name: str, parameter: str) -> web.Response:
        status, body = self._contract.answer(name, parameter)
        headers = {"x-amzn-RequestId": f"fake-{bank.DOMAIN}-{name.replace(':', '-')}"}
        if status >= 400:
            headers["x-amzn-ErrorType"] = body["__type"]
        return web.Response(
            status=status, body=json.dumps(body).encode(), content_type="application/json", headers=headers
        )
