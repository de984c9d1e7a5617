from __future__ import annotations

import pytest

from tasks.estate.switches import SWITCHES
from tasks.estate.variants import adjust, all_on, hardened, vulnerable

SERVICES = {"assistant", "agent", "mcp", "rag", "aws"}


def test_there_are_switches_for_every_service_and_each_says_what_it_does() -> None:
    assert len(SWITCHES) >= 30
    assert {service for switch in SWITCHES.values() for service in switch.services} == SERVICES
    for name, switch in SWITCHES.items():
        assert name == switch.name
        assert switch.weakness.endswith(".")
        assert switch.hardened.endswith(".")
        assert switch.weakness != switch.hardened


def test_variants() -> None:
    assert hardened() == frozenset()
    assert all_on() == frozenset(SWITCHES)
    assert vulnerable("mcp_open") == {"mcp_open"}
    assert adjust(all_on(), off=["mcp_open"]) == all_on() - {"mcp_open"}
    assert adjust(hardened(), on=["mcp_open", "obeys_prefix"], off=["obeys_prefix"]) == {"mcp_open"}


def test_an_unknown_switch_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"obeys_everything.*obeys_overrides"):
        vulnerable("obeys_everything")
