"""Amazon Bedrock: agents, knowledge bases, guardrails, custom models, invocation logging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.discovery.aws_access import AwsReader
from tasks.discovery.aws_source import AwsSource
from tasks.discovery.source import SourceContext
from tasks.records import AssetKind, Observation


class AwsBedrock(AwsSource):
    name = "aws_bedrock"
    service = "bedrock"
    needs: tuple[str, ...] = (
        "sts:GetCallerIdentity",
        "bedrock:ListGuardrails",
        "bedrock:GetGuardrail",
        "bedrock:ListCustomModels",
        "bedrock:GetCustomModel",
        "bedrock:GetModelInvocationLoggingConfiguration",
        "bedrock-agent:ListAgents",
        "bedrock-agent:GetAgent",
        "bedrock-agent:ListKnowledgeBases",
        "bedrock-agent:GetKnowledgeBase",
    )

    def observe(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        yield from self._agents(ctx, reader)
        yield from self._knowledge_bases(ctx, reader)
        yield from self._custom_models(ctx, reader)
        yield from self._guardrails(ctx, reader)
        yield from self._logging(ctx, reader)

    def _agents(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        for item in reader.items("bedrock-agent", "ListAgents", "agentSummaries"):
            reply = reader.call("bedrock-agent", "GetAgent", agentId=item["agentId"])
            if reply is None:
                continue
            agent = reply["agent"]
            props = {
                "cloud_type": "bedrock_agent",
                "guardrail_ref": (agent.get("guardrailConfiguration") or {}).get("guardrailIdentifier"),
                "model": agent.get("foundationModel"),
                "principal": agent.get("agentResourceRoleArn"),
                "kms_key": agent.get("customerEncryptionKeyArn"),
                "idle_ttl_s": agent.get("idleSessionTTLInSeconds"),
                "status": agent.get("agentStatus"),
            }
            yield self._seen(ctx, reader, AssetKind.AGENT, agent["agentName"], agent["agentArn"], "GetAgent", props)

    def _knowledge_bases(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        for item in reader.items("bedrock-agent", "ListKnowledgeBases", "knowledgeBaseSummaries"):
            reply = reader.call("bedrock-agent", "GetKnowledgeBase", knowledgeBaseId=item["knowledgeBaseId"])
            if reply is None:
                continue
            base = reply["knowledgeBase"]
            vector = (base.get("knowledgeBaseConfiguration") or {}).get("vectorKnowledgeBaseConfiguration") or {}
            props = {
                "cloud_type": "bedrock_knowledge_base",
                "principal": base.get("roleArn"),
                "embedding_ref": vector.get("embeddingModelArn"),
                "storage": (base.get("storageConfiguration") or {}).get("type"),
                "status": base.get("status"),
            }
            arn = base["knowledgeBaseArn"]
            yield self._seen(ctx, reader, AssetKind.RAG_SYSTEM, base["name"], arn, "GetKnowledgeBase", props)

    def _custom_models(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        for item in reader.items("bedrock", "ListCustomModels", "modelSummaries"):
            model = reader.call("bedrock", "GetCustomModel", modelIdentifier=item["modelArn"])
            if model is None:
                continue
            props = {
                "cloud_type": "bedrock_custom_model",
                "kms_key": model.get("modelKmsKeyArn"),
                "base_model": model.get("baseModelArn"),
                "dataset_ref": (model.get("trainingDataConfig") or {}).get("s3Uri"),
                "customization": model.get("customizationType"),
            }
            yield self._seen(
                ctx, reader, AssetKind.FINE_TUNED_MODEL, model["modelName"], model["modelArn"], "GetCustomModel", props
            )

    def _guardrails(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        for item in reader.items("bedrock", "ListGuardrails", "guardrails"):
            rail = reader.call("bedrock", "GetGuardrail", guardrailIdentifier=item["id"])
            if rail is None:
                continue
            filters = (rail.get("contentPolicy") or {}).get("filters") or []
            attack: dict[str, Any] = next((f for f in filters if f.get("type") == "PROMPT_ATTACK"), {})
            sensitive = rail.get("sensitiveInformationPolicy") or {}
            entities = [*(sensitive.get("piiEntities") or []), *(sensitive.get("regexes") or [])]
            props = {
                "cloud_type": "bedrock_guardrail",
                "prompt_attack_strength": attack.get("inputStrength"),
                "pii_filters": len(entities),
                "pii_enforced_on_output": bool(entities) and all(_enforced(e) for e in entities),
                "grounding_filters": len((rail.get("contextualGroundingPolicy") or {}).get("filters") or []),
                "version": rail.get("version"),
            }
            yield self._seen(
                ctx, reader, AssetKind.CLOUD_AI_SERVICE, rail["name"], rail["guardrailArn"], "GetGuardrail", props
            )

    def _logging(self, ctx: SourceContext, reader: AwsReader) -> Iterator[Observation]:
        reply = reader.call("bedrock", "GetModelInvocationLoggingConfiguration")
        account = reader.account
        if reply is None or account is None:
            return
        config = reply.get("loggingConfig") or {}
        props = {
            "cloud_type": "bedrock_region",
            "invocation_logging": bool(config.get("cloudWatchConfig") or config.get("s3Config")),
            "text_logged": bool(config.get("textDataDeliveryEnabled")),
        }
        scope = f"arn:aws:bedrock:{reader.region}:{account}:model-invocation-logging"
        yield self._seen(
            ctx, reader, AssetKind.CLOUD_AI_SERVICE, f"Bedrock in {reader.region}", scope,
            "GetModelInvocationLoggingConfiguration", props,
        )  # fmt: skip


def _enforced(entity: dict[str, Any]) -> bool:
    """Whether a finding in the model's answer is blocked or masked, not only reported."""
    action = entity.get("outputAction") or entity.get("action")
    return action in ("BLOCK", "ANONYMIZE") and entity.get("outputEnabled", True) is not False
