"""Identity: equal keys merge within a kind, whatever the order; nothing else does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.discovery.identity import asset_id, asset_rows, assets_from_rows, config_hash, resolve
from tasks.lake import tables
from tasks.records import AssetKind, Completeness, EdgeRef, Observation, ProofLabel, SourceResult

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def seen(
    keys: Mapping[str, str],
    props: Mapping[str, Any] | None = None,
    *,
    source: str = "declared",
    kind: AssetKind = AssetKind.AGENT,
    edges: tuple[EdgeRef, ...] = (),
    name: str = "n",
    completeness: Completeness = Completeness.FULL,
) -> Observation:
    return Observation(
        source=source,
        source_version="1",
        kind=kind,
        name=name,
        natural_keys=keys,
        props=props or {},
        evidence="e",
        observed_at=NOW,
        proof_label=ProofLabel.DECLARED if source == "declared" else ProofLabel.REAL_COMPONENT,
        edges=edges,
        completeness=completeness,
    )


def result(
    *observations: Observation, source: str = "declared", state: Completeness = Completeness.FULL
) -> SourceResult:
    return SourceResult(source, "s", state, "", observations)


def test_the_id_is_kind_and_twenty_base32_characters() -> None:
    name = asset_id(AssetKind.AGENT, "url", "http://x")
    kind, _, rest = name.partition(":")
    assert (kind, len(rest), rest) == ("agent", 20, rest.lower())
    assert name != asset_id(AssetKind.TOOL, "url", "http://x")


def test_equal_keys_merge_and_the_strongest_names_the_asset() -> None:
    found = resolve([seen({"url": "http://x"}), seen({"arn": "a", "url": "HTTP://X/"}, source="aws_bedrock")])
    [asset] = found.assets
    assert asset.asset_id == asset_id(AssetKind.AGENT, "arn", "a")
    assert asset.sources == ("aws_bedrock", "declared")
    assert [(a.alias, a.asset_id) for a in found.aliases] == [
        (asset_id(AssetKind.AGENT, "url", "http://x"), asset.asset_id)
    ]


def test_kinds_never_merge() -> None:
    assert len(resolve([seen({"url": "http://x"}), seen({"url": "http://x"}, kind=AssetKind.TOOL)]).assets) == 2


def test_a_weak_key_does_not_join_different_strong_ones() -> None:
    found = resolve([seen({"arn": "a", "url": "http://x"}), seen({"arn": "b", "url": "http://x"})])
    assert len(found.assets) == 2
    assert [a.state for a in found.aliases] == ["candidate"]


def test_an_id_survives_the_loss_of_the_stronger_key() -> None:
    both = resolve([seen({"url": "http://x"}), seen({"arn": "a", "url": "http://x"}, source="aws_bedrock")])
    aliases = {a.alias: a.asset_id for a in both.aliases}
    later = resolve([seen({"url": "http://x"})], aliases)
    assert later.assets[0].asset_id == both.assets[0].asset_id


def test_live_facts_win_and_all_values_are_kept() -> None:
    found = resolve(
        [
            seen({"url": "http://x"}, {"auth": "bearer", "a": 1}),
            seen({"url": "http://x"}, {"auth": "none"}, source="mcp_servers"),
        ]
    )
    assert found.assets[0].props == {
        "auth": "none",
        "a": 1,
        "_by_source": {"auth": {"declared": "bearer", "mcp_servers": "none"}},
    }
    assert found.assets[0].proof_label == ProofLabel.REAL_COMPONENT


def test_only_the_declaration_speaks_of_owner_risk_and_permission() -> None:
    hostile = {"owner": "attacker", "active": True, "risk_tier": "minimal", "exposure": "internal", "env": "dev"}
    [asset] = resolve([seen({"url": "http://x"}, hostile, source="mcp_servers")]).assets
    assert (asset.owner, asset.active, asset.risk_tier, asset.exposure, asset.env) == (None, False, None, None, None)
    assert asset.props == {}
    said = seen({"url": "http://x"}, {"owner": "team", "active": False, "risk_tier": "high"})
    [asset] = resolve([said, seen({"url": "http://x"}, hostile, source="mcp_servers")]).assets
    assert (asset.owner, asset.active, asset.risk_tier) == ("team", False, "high")


def test_edges_lead_to_assets_by_any_of_their_keys_and_dangling_ones_are_left_out() -> None:
    tool = seen({"tool": "t", "url": "http://t"}, kind=AssetKind.TOOL)
    agent = seen(
        {"url": "http://x"},
        edges=(
            EdgeRef("uses", AssetKind.TOOL, "url", "http://T/"),
            EdgeRef("uses", AssetKind.TOOL, "tool", "nowhere"),
        ),
    )
    [edge] = resolve([tool, agent]).edges
    assert (edge.src_id, edge.dst_id, edge.rel) == (
        asset_id(AssetKind.AGENT, "url", "http://x"),
        asset_id(AssetKind.TOOL, "tool", "t"),
        "uses",
    )


def test_an_observation_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="no natural key"):
        resolve([seen({"colour": "blue"})])


KEYS = st.dictionaries(
    st.sampled_from(["arn", "url", "model", "inventory_id"]), st.sampled_from(["1", "2", "3"]), min_size=1, max_size=4
)
SEEN = st.builds(
    lambda keys, kind, source, props: seen(keys, props, kind=kind, source=source),
    KEYS,
    st.sampled_from([AssetKind.AGENT, AssetKind.TOOL]),
    st.sampled_from(["declared", "mcp_servers", "aws_bedrock"]),
    st.dictionaries(st.sampled_from(["a", "b", "owner"]), st.integers(0, 2), max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SEEN, min_size=1, max_size=8), st.randoms())
def test_the_order_of_observations_does_not_matter(observations: list[Observation], random: Any) -> None:
    before = resolve(observations)
    shuffled = list(enumerate(observations))
    random.shuffle(shuffled)
    after = resolve([o for _, o in shuffled])
    assert after.assets == before.assets
    assert set(after.aliases) == set(before.aliases)
    assert [after.asset_of[i] for i in range(len(shuffled))] == [before.asset_of[j] for j, _ in shuffled]


@settings(max_examples=150, deadline=None)
@given(st.lists(SEEN, min_size=1, max_size=8))
def test_seeing_everything_twice_changes_nothing(observations: list[Observation]) -> None:
    once = resolve(observations)
    twice = resolve(observations + observations)
    assert [a.asset_id for a in twice.assets] == [a.asset_id for a in once.assets]
    assert [config_hash(a.props) for a in twice.assets] == [config_hash(a.props) for a in once.assets]
    again = resolve(observations, {a.alias: a.asset_id for a in once.aliases if a.state == "merged"})
    assert again.assets == once.assets


@settings(max_examples=100, deadline=None)
@given(st.lists(SEEN, min_size=1, max_size=8))
def test_one_asset_never_holds_two_values_of_its_strongest_key(observations: list[Observation]) -> None:
    found = resolve(observations)
    strong: dict[str, set[str]] = {}
    for i, o in enumerate(observations):
        if "arn" in o.natural_keys:
            strong.setdefault(found.asset_of[i], set()).add(o.natural_keys["arn"])
    assert all(len(values) == 1 for values in strong.values())


# -- lake rows --------------------------------------------------------------------------------------------------


def test_rows_fit_the_tables() -> None:
    tool = seen(
        {"tool": "s#t"}, {"sha256": "0" * 64, "definition": {"name": "t"}}, source="mcp_servers", kind=AssetKind.TOOL
    )
    server = seen(
        {"url": "http://s"},
        {"tools": [{"name": "t", "sha256": "0" * 64}]},
        source="mcp_servers",
        kind=AssetKind.MCP_SERVER,
        edges=(EdgeRef("exposes", AssetKind.TOOL, "tool", "s#t"),),
    )
    rows = asset_rows([result(tool, server, source="mcp_servers")], [], "r1", NOW)
    assert {name: len(found) for name, found in rows.items()} == {
        "observations": 2, "asset_versions": 2, "asset_aliases": 0, "edges": 1, "tool_versions": 1,
    }  # fmt: skip
    stamps = {"recorded_at", "batch_key", "row_sha256"}
    for name, found in rows.items():
        for row in found:
            assert set(row) == set(tables()[name].schema.names) - stamps


def test_a_version_is_written_only_when_something_changed() -> None:
    first = asset_rows([result(seen({"url": "http://x"}, {"a": 1, "etag": "1"}))], [], "r1", NOW)["asset_versions"]
    later = NOW + timedelta(days=1)
    same = [result(seen({"url": "http://x"}, {"a": 1, "etag": "2"}))]
    assert asset_rows(same, first, "r2", later)["asset_versions"] == []
    changed = asset_rows([result(seen({"url": "http://x"}, {"a": 2}))], first, "r3", later)["asset_versions"]
    assert [(r["asset_id"], json.loads(r["props"]), r["valid_from"]) for r in changed] == [
        (first[0]["asset_id"], {"a": 2}, later)
    ]
    owner = asset_rows([result(seen({"url": "http://x"}, {"a": 1, "owner": "x"}))], first, "r4", later)
    assert [r["owner"] for r in owner["asset_versions"]] == ["x"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [(Completeness.FULL, ["absent"]), (Completeness.PARTIAL, []), (Completeness.DENIED, []), (Completeness.ERROR, [])],
)
def test_only_a_full_run_of_its_source_closes_an_asset(state: Completeness, expected: list[str]) -> None:
    first = asset_rows([result(seen({"url": "http://x"}))], [], "r1", NOW)["asset_versions"]
    rows = asset_rows([result(state=state)], first, "r2", NOW + timedelta(days=1))["asset_versions"]
    assert [r["state"] for r in rows] == expected
    assert assets_from_rows(rows) == []


def test_a_source_that_did_not_run_closes_nothing() -> None:
    first = asset_rows([result(seen({"url": "http://x"}, source="aws_bedrock"), source="aws_bedrock")], [], "r1", NOW)
    assert asset_rows([result()], first["asset_versions"], "r2", NOW)["asset_versions"] == []


def test_an_absent_asset_comes_back() -> None:
    first = asset_rows([result(seen({"url": "http://x"}))], [], "r1", NOW)["asset_versions"]
    gone = asset_rows([result()], first, "r2", NOW)["asset_versions"]
    assert asset_rows([result()], gone, "r3", NOW)["asset_versions"] == []
    back = asset_rows([result(seen({"url": "http://x"}))], gone, "r4", NOW)["asset_versions"]
    assert [r["state"] for r in back] == ["present"]


def test_assets_come_back_from_their_rows() -> None:
    said = seen({"url": "http://x"}, {"a": [1], "owner": "o", "active": True})
    rows = asset_rows([result(said)], [], "r1", NOW)["asset_versions"]
    assert assets_from_rows(rows, {rows[0]["asset_id"]: (NOW, NOW)}) == list(resolve([said]).assets)


def test_a_failed_reading_is_remembered_on_the_asset() -> None:
    [asset] = resolve(
        [seen({"url": "http://x"}), seen({"url": "http://x"}, source="mcp_servers", completeness=Completeness.PARTIAL)]
    ).assets
    assert asset.props["collection"] == {"declared": "full", "mcp_servers": "partial"}
