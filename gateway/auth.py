"""Who asks: the agent whose key a request shows. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.policy.bundle import Agent, Policy, find_agent
from gateway.reasons import Refusal


def authenticate(shown: Sequence[tuple[str, str]], policy: Policy) -> Agent:
    """The agent whose key is shown; `shown` are all headers, with their names, that may hold one.

    Raises Refusal `POLICY.AGENT_DENIED` unless exactly one is there and the policy knows its key.
    """
    if len(shown) != 1:
        raise Refusal("POLICY.AGENT_DENIED")
    name, key = shown[0]
    if name == "Authorization":
        scheme, _, key = key.partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal("POLICY.AGENT_DENIED")
    key = key.strip()
    agent = find_agent(policy, key) if key else None
    if agent is None:
        raise Refusal("POLICY.AGENT_DENIED")
    return agent
