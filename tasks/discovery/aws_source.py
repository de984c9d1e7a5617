"""What the AWS sources share: one result per region, and observations keyed by ARN."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from tasks.discovery.aws_access import AwsReader
from tasks.discovery.source import SourceContext, clean
from tasks.records import AssetKind, EdgeRef, Observation, SourceResult


class AwsSource(ABC):
    """A subclass names its operations in `needs` and yields what it sees in one region."""

    name: str
    service: str
    """Last part of the result's scope."""
    version: str = "1"
    needs: tuple[str, ...]

    def collect(self, ctx: SourceContext) -> list[SourceResult]:
        """One result per configured region; none while AWS is not enabled."""
        aws = ctx.settings.discovery.aws
        return [self._region(ctx, region) for region in aws.regions] if aws.enabled else []

    @abstractmethod
    def observe(self, ctx: SourceContext, reader: AwsReader) -> Iterable[Observation]:
        """What is seen in the reader's region; operations that fail are noted by the reader."""

    def _region(self, ctx: SourceContext, region: str) -> SourceResult:
        reader = AwsReader(ctx.settings.discovery.aws, region, self.needs, ctx.settings.discovery.timeout_s)
        found = tuple(self.observe(ctx, reader))
        state, reason = reader.state([need for need in self.needs if ":List" in need])
        return SourceResult(self.name, f"aws/{region}/{self.service}", state, reason, found)

    def _seen(
        self,
        ctx: SourceContext,
        reader: AwsReader,
        kind: AssetKind,
        name: str,
        arn: str,
        operation: str,
        props: dict[str, Any],
        edges: tuple[EdgeRef, ...] = (),
    ) -> Observation:
        return Observation(
            source=self.name,
            source_version=self.version,
            kind=kind,
            name=clean(name),
            natural_keys={"arn": arn},
            props=clean({**props, "region": reader.region, "cloud": "aws"}),
            evidence=f"{operation} {arn}",
            observed_at=ctx.clock(),
            proof_label=reader.proof,
            edges=edges,
        )
