"""What the requests for one vote added up to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tasks.judging.vendors.format import Usage
from tasks.records import Vote
from tasks.targets.wire import Answer


@dataclass(slots=True)
class Bill:
    """What the requests for one vote added up to."""

    requests: int = 0
    sent: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    micro_usd: int | None = None
    raw_sha256: str | None = None

    def add(self, exchange: Answer, usage: Usage, micro_usd: int | None) -> None:
        self.requests += exchange.tries
        self.sent += exchange.sent_bytes
        self.raw_sha256 = exchange.response_sha256 or self.raw_sha256
        self.count(usage, micro_usd)

    def count(self, usage: Usage, micro_usd: int | None) -> None:
        """Add tokens and money; what no reply told stays None."""
        for name, value in (
            ("tokens_in", usage.tokens_in),
            ("tokens_out", usage.tokens_out),
            ("micro_usd", micro_usd),
        ):
            if value is not None:
                setattr(self, name, (getattr(self, name) or 0) + value)

    def on(self, vote: Vote, host: str) -> Vote:
        """`vote` with this bill."""
        return replace(
            vote,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            cost_micro_usd=self.micro_usd,
            raw_sha256=self.raw_sha256,
            egress_host=host if self.requests else None,
            egress_bytes=self.sent,
            egress_requests=self.requests,
        )
