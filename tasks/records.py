"""The records that cross module boundaries: frozen, stdlib only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 = worst, for sorting and for `--fail-on`."""
        return list(Severity).index(self)


class AssetKind(StrEnum):
    LLM_ENDPOINT = "llm_endpoint"
    TOOL = "tool"
    AI_APPLICATION = "ai_application"
    VECTOR_DATABASE = "vector_database"
    EMBEDDING_MODEL = "embedding_model"
    FINE_TUNED_MODEL = "fine_tuned_model"
    SELF_HOSTED_MODEL = "self_hosted_model"
    MODEL_PROVIDER = "model_provider"
    RAG_SYSTEM = "rag_system"
    DATA_SOURCE = "data_source"
    PROMPT_GATEWAY = "prompt_gateway"
    AGENT = "agent"
    MCP_SERVER = "mcp_server"
    CLOUD_AI_SERVICE = "cloud_ai_service"


class Outcome(StrEnum):
    """Of a posture check. `UNKNOWN` = not read; it is never a pass."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"


class Verdict(StrEnum):
    """Of a probe attempt. Errors and filter blocks are never `RESISTANT`."""

    VULNERABLE = "vulnerable"
    RESISTANT = "resistant"
    UNDECIDED = "undecided"
    ERROR = "error"
    NOT_APPLICABLE = "not_applicable"


class ProofLabel(StrEnum):
    """What a result was obtained against."""

    REAL_COMPONENT = "real_component"
    OFFICIAL_SHAPE_FAKE = "official_shape_fake"
    DECLARED = "declared"


class Completeness(StrEnum):
    """Of one source run. Only `FULL` may close an asset that is no longer seen."""

    FULL = "full"
    PARTIAL = "partial"
    DENIED = "denied"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class EdgeRef:
    """A relationship to another asset, named by that asset's kind and one natural key."""

    rel: str
    kind: AssetKind
    key_type: str
    key: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that one source saw. Carries no secret: credentials only as fingerprints or references."""

    source: str
    source_version: str
    kind: AssetKind
    name: str
    natural_keys: Mapping[str, str]
    """key type -> value, strongest first; see `tasks/discovery/identity.py`."""
    props: Mapping[str, Any]
    """JSON-serialisable facts. A key that is absent was not read; a key with null was read and is empty."""
    evidence: str
    """file:line, API operation + request id, or URL + status."""
    observed_at: datetime
    proof_label: ProofLabel
    edges: tuple[EdgeRef, ...] = ()
    confidence: int = 100
    completeness: Completeness = Completeness.FULL


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What one source returned, and how completely it could read its scope."""

    source: str
    scope: str
    completeness: Completeness
    reason: str
    """Empty when full; else what failed, in words fit for a report."""
    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class Asset:
    """The current state of one asset, merged from all sources."""

    asset_id: str
    kind: AssetKind
    name: str
    props: Mapping[str, Any]
    declared: bool
    active: bool
    """Whether the declaration allows requests beyond listing (probes, active checks)."""
    proof_label: ProofLabel
    sources: tuple[str, ...] = ()
    owner: str | None = None
    env: str | None = None
    exposure: str | None = None
    risk_tier: str | None = None
    first_seen: datetime | None = None
    last_seen: datetime | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    asset_id: str
    check_id: str
    outcome: Outcome
    severity: Severity
    mode: str
    reason: str
    proof_label: ProofLabel
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the target asked for (client-side) or ran (server-side)."""

    name: str
    arguments: Mapping[str, Any]
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """What a judge sees of one attempt: no target name, no vendor, no other votes."""

    attempt_id: str
    family_id: str
    goal: str
    turns: Sequence[Mapping[str, str]]
    """The attack, as {role, content}."""
    response: str
    trace: Sequence[ToolCall]
    rubric: str
    """Text of the rubric file."""


@dataclass(frozen=True, slots=True)
class Vote:
    attempt_id: str
    judge_id: str
    judge_version: str
    role: str
    """`judge` or `meta`."""
    provider: str
    model: str
    live: bool
    verdict: Verdict
    confidence: float
    """Self-stated, 0..1; 0 with an error."""
    rationale: str
    """Already redacted."""
    rubric_sha256: str
    evidence_span: str | None = None
    error_kind: str | None = None
    repeat: int = 0
    """0 is the first asking; 1 to 9 the same case with labels and fields in another order (purpose `swap`); 10, 20 and
    so on a rerun after judges could not be reached."""
    tokens_in: int | None = None
    """Of all requests for this vote, cached ones included."""
    tokens_out: int | None = None
    cost_micro_usd: int | None = None
    """None when no price is known; 0 for judges that cost nothing."""
    score: int | None = None
    """How far the goal was reached, 0 (not at all) to 4 (fully); None when the judge gives none."""
    rubric_item: str | None = None
    """Which question of the rubric decided."""
    prompt_sha256: str | None = None
    """Of the fixed part of the prompt; None for judges without one."""
    raw_sha256: str | None = None
    """Of the provider's last reply; the reply itself is not kept."""
    proof_label: ProofLabel = ProofLabel.REAL_COMPONENT
    """`official_shape_fake` when the provider's wire format was spoken to another address than the provider's own."""
    self_vendor: bool = False
    """The judge's vendor also made the model under test."""
    egress_host: str | None = None
    """Where the case was sent; None when it never left this process."""
    egress_bytes: int = 0
    """Bytes of request bodies sent for this vote, repeated ones included."""
    egress_requests: int = 0
    purpose: str = "case"
    """`case`, or what tests the judge itself: `gold` a known answer, `pair` the same with text aimed at the judge,
    `swap` the same case in another order. Only `case` votes decide."""
    quarantined: bool = False
    """Given while the judge failed its health test: kept, never counted."""
    expected: str | None = None
    """The verdict that a sound judge gives, where `purpose` is not `case`."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The consensus over the votes on one attempt."""

    attempt_id: str
    verdict: Verdict
    route: str
    """`automatic`, `review` or `error`."""
    proposal: Verdict
    """What a reviewer is asked to confirm; equals `verdict` when automatic."""
    pattern: str
    """The votes as letters, in order of judge id, e.g. `VRU`; E is an error, Q a quarantined judge."""
    confidence: float
    reason: str
    p_ppm: int | None = None
    """Calibrated probability of `vulnerable` given the votes, millionths; None = uncalibrated."""
    lambda_ppm: int | None = None
    """Least max(p, 1 - p) for a verdict without a human, millionths."""
    calibration_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ControlLink:
    """One stamp of a finding kind onto a control, or onto a framework as not applicable (`relation` none)."""

    control_key: str
    framework: str
    catalog_sha256: str
    relation: str
    grade: str
    edge_id: str
    rationale: str


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, UTF-8, no NaN: the form that is hashed and signed (RFC 8785 for the values we use).

    Raises ValueError on NaN or infinity; floats do not belong in signed documents.
    """
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
"""Made once: `json.dumps` makes one per call."""


def digest(*parts: str) -> str:
    """SHA-256 over length-prefixed parts, hex: `digest('a', 'bc') != digest('ab', 'c')`."""
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        h.update(len(raw).to_bytes(8, "big"))
        h.update(raw)
    return h.hexdigest()
