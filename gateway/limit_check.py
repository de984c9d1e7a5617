"""Every limit is fired once before it is relied on: one that is only written down is worse than none."""

from __future__ import annotations

from gateway.errors import ConfigError
from gateway.ledger.leases import Charge
from gateway.ledger.ledger import Refused, Share, Store
from gateway.ledger.memory import MemoryStore
from gateway.periods import Calendar
from gateway.policy.budgets import ANY
from gateway.policy.bundle import Policy
from gateway.spending import budget_charges, rate_charge


def check_limits(policy: Policy, now: float) -> None:
    """Fire every limit of the policy, in a ledger of its own. Raises ConfigError naming one that limits nothing."""
    agents = [a.id for a in policy.agents] or ["any"]
    for budget in policy.budgets:
        domain = "example.com" if budget.upstream_domain == ANY else budget.upstream_domain
        if not budget.covers(domain, agents[0] if budget.agent == ANY else budget.agent):
            raise ConfigError(f"self-test: the budget {budget.id} covers nothing")
        (spent,) = budget_charges(policy, [budget], budget.limit_micro_usd, now, Calendar())
        check_store(MemoryStore(), spent, f"budget {budget.id}")
    for name in policy.rates:
        others = [a for a in agents if a not in policy.rates] or ["any"]
        charge, _ = rate_charge(policy, others[0] if name == ANY else name, now)
        if charge is None:
            raise ConfigError(f"self-test: the rate of {name} covers nothing")
        check_store(MemoryStore(), charge._replace(amount=charge.limit), f"rate of {name}")


def check_store(store: Store, charge: Charge, name: str = "ledger") -> None:
    """Spend `charge`, which is all of its limit, and one more, which must be refused or, if forced, marked.

    Raises ConfigError, or LedgerError when the store does not answer.
    """
    share = Share(charge.account, charge.limit, 0, charge.amount, charge.amount, charge.force, charge.keep_until)
    all_of_it = store.update("self-test 1", [share], 1.0, 0.0)
    one_more = store.update("self-test 2", [share._replace(lease=1, need=1)], 1.0, 0.0)
    if isinstance(one_more, Refused):
        limited = not charge.force
    else:
        limited = charge.force and one_more[0].over
    if isinstance(all_of_it, Refused) or all_of_it[0].over or not limited:
        raise ConfigError(f"self-test: the {name} does not limit anything")
