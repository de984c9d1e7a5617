"""Why a policy was not taken over: a closed list, so that events can carry it."""

from __future__ import annotations

from gateway.errors import VerificationError

DETAILS = {
    "signature": "not signed by enough trusted keys, or changed since",
    "content": "signed, but not understood whole",
    "size": "larger than any policy",
    "root": "a root that does not follow from the trusted one",
    "rollback": "older than what was seen before, or a second document of one version",
    "epoch": "made under another root than the newest one",
    "tenant": "of another tenant",
    "audience": "for other gateways",
    "expired": "policy or root is past its date",
    "memory": "the memory of what was seen before is damaged",
    "missing": "no policy where the settings say",
    "unreachable": "the policy server gave no usable answer",
    "stale": "nobody confirmed for too long that the policy is the newest",
}
"""`reason_detail` of events with the reason `POLICY.SIGNATURE`; `unreachable` is told to the policy server only, once
it can be reached again."""


class PolicyError(VerificationError):
    """A document was refused; `detail` is a key of `DETAILS`. The message holds no value found in the document."""

    def __init__(self, detail: str, message: str) -> None:
        if detail not in DETAILS:
            raise ValueError(f"unknown detail {detail}")
        super().__init__(message)
        self.detail = detail
