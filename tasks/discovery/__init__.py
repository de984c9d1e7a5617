"""Discovery: sources in, observations and assets out. `SOURCES` is the one list of sources."""

from __future__ import annotations

from tasks.discovery.aws_bedrock import AwsBedrock
from tasks.discovery.aws_sagemaker import AwsSageMaker
from tasks.discovery.client_configs import ClientConfigs
from tasks.discovery.declared import Declared
from tasks.discovery.identity import asset_rows, assets_from_rows, resolve
from tasks.discovery.inventory import Inventory, load_inventory
from tasks.discovery.mcp_servers import McpServers
from tasks.discovery.openai_compatible import OpenAiCompatible
from tasks.discovery.source import Source, SourceContext
from tasks.errors import ConfigError
from tasks.records import Completeness, SourceResult
from tasks.settings import Settings

SOURCES: dict[str, Source] = {
    "declared": Declared(),
    "client_configs": ClientConfigs(),
    "mcp_servers": McpServers(),
    "openai_compatible": OpenAiCompatible(),
    "aws_bedrock": AwsBedrock(),
    "aws_sagemaker": AwsSageMaker(),
}


def enabled_sources(settings: Settings) -> list[str]:
    """Names of the sources that this configuration runs, in order."""
    return [name for name in SOURCES if settings.discovery.aws.enabled or not name.startswith("aws_")]


def discover(source_name: str, ctx: SourceContext) -> list[SourceResult]:
    """Run one source. What it could not read comes back as a result with its reason.

    Raises ConfigError for an unknown source; a source that breaks yields one result with completeness `error`, so
    that the other sources' results are still recorded.
    """
    source = SOURCES.get(source_name)
    if source is None:
        raise ConfigError(f"unknown source `{source_name}`; one of: {', '.join(SOURCES)}")
    try:
        return source.collect(ctx)
    except ConfigError:
        raise
    except Exception as e:  # noqa: BLE001 - one broken source must not lose what the others saw
        return [SourceResult(source_name, "*", Completeness.ERROR, f"the source failed: {type(e).__name__}", ())]


__all__ = [
    "SOURCES",
    "Inventory",
    "Source",
    "SourceContext",
    "asset_rows",
    "assets_from_rows",
    "discover",
    "enabled_sources",
    "load_inventory",
    "resolve",
]
