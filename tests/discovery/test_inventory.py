"""The inventory is read strictly: each mistake is named with file, line and what to do."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tasks.discovery.inventory import load_inventory
from tasks.errors import ConfigError
from tasks.records import AssetKind
from tasks.settings import CONTENT_ROOT

HEAD = "schema: aispm.inventory/1\nassets:\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "inventory.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_full_entry_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        HEAD
        + """\
  - id: mcp/fs
    kind: mcp_server
    name: Files
    owner: platform@bank.example
    env: prod
    exposure: internal
    risk_tier: high
    active: true
    data: {sensitivity: pii, regions: [eu-central-1]}
    launch: {package: "pkg:npm/fs@1.2.3", command: [npx], args: [/srv], consent: true, env: {TOKEN: "env:FS_TOKEN"}}
    pin: {tools_sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
    waivers: [{check: MCP-31, until: 2027-01-31, reason: read only, by: ciso@bank.example}]
  - id: agent/a
    kind: agent
    keys: {url: "HTTP://127.0.0.1:80/v1/"}
    props: {wire_format: openai_responses, credential: "file:/run/key"}
    uses: [mcp/fs, {rel: mounts, to: mcp/fs}]
""",
    )
    server, agent = load_inventory(path).assets
    assert server.natural_keys == {"launch": "pkg:npm/fs@1.2.3 /srv", "inventory_id": "mcp/fs"}
    assert server.waiver("MCP-31", date(2027, 1, 31)) is not None
    assert server.waiver("MCP-31", date(2027, 2, 1)) is None
    assert server.waiver("MCP-30", date(2026, 1, 1)) is None
    assert agent.natural_keys["url"] == "http://127.0.0.1/v1"
    assert (agent.name, agent.kind, agent.active) == ("agent/a", AssetKind.AGENT, False)
    assert [(u.rel, u.to) for u in agent.uses] == [("uses", "mcp/fs"), ("mounts", "mcp/fs")]


ENTRY = "  - {id: a, kind: agent}\n"
MISTAKES = {
    "broken YAML": (HEAD + "  - {id: a, kind: agent\n", 4, "not valid YAML"),
    "not a mapping": ("- 1\n", 1, "an inventory starts with"),
    "unknown schema": ("schema: aispm.inventory/2\nassets: []\n", 1, "unknown schema"),
    "unknown top field": ("schema: aispm.inventory/1\nassets: []\nextra: 1\n", 3, "unknown field `extra`"),
    "assets not a list": ("schema: aispm.inventory/1\nassets: {a: 1}\n", 2, "must be a list"),
    "asset not a mapping": (HEAD + "  - just-text\n", 3, "an asset is a mapping"),
    "unknown field": (HEAD + "  - id: a\n    kind: agent\n    colour: blue\n", 5, "unknown field `colour`"),
    "no id": (HEAD + "  - {kind: agent}\n", 3, "`id` must be text"),
    "bad id": (HEAD + "  - {id: 'A b', kind: agent}\n", 3, "an id is"),
    "unknown kind": (HEAD + "  - id: a\n    kind: robot\n", 4, "unknown kind `robot`"),
    "duplicate id": (HEAD + ENTRY + ENTRY, 4, "already used in line 3"),
    "duplicate key": (HEAD + "  - {id: a, kind: agent, kind: tool}\n", 3, "occurs twice"),
    "same address": (
        HEAD
        + "  - {id: a, kind: agent, keys: {url: 'http://x/v1'}}\n"
        + "  - {id: b, kind: agent, keys: {url: 'HTTP://X/v1/'}}\n",
        4,
        "would be one asset",
    ),
    "dangling use": (HEAD + "  - id: a\n    kind: agent\n    uses:\n      - b\n", 6, "uses `b`, which is not declared"),
    "unknown relation": (HEAD + "  - id: a\n    kind: agent\n    uses: [{rel: likes, to: a}]\n", 5, "unknown relation"),
    "odd use": (HEAD + "  - id: a\n    kind: agent\n    uses: [{to: a}]\n", 5, "write an id, or"),
    "secret in a credential field": (
        HEAD + "  - id: a\n    kind: agent\n    props:\n      credential: correct-horse-battery\n",
        6,
        "holds a value, not a reference",
    ),
    "nested secret": (
        HEAD + "  - id: a\n    kind: agent\n    props:\n      principals:\n        - {id: x, credential: hunter22}\n",
        7,
        "holds a value, not a reference",
    ),
    "secret by its shape": (
        HEAD + "  - id: a\n    kind: agent\n    props:\n      note: AKIAIOSFODNN7EXAMPLE\n",
        6,
        "looks like a secret",
    ),
    "password in a URL": (HEAD + "  - id: a\n    kind: agent\n    keys:\n      url: http://me:pw123@x/\n", 6, "secret"),
    "secret in launch env": (
        HEAD + "  - id: a\n    kind: mcp_server\n    launch:\n      command: [x]\n      env: {API_KEY: hunter22}\n",
        7,
        "holds a value, not a reference",
    ),
    "bad waiver date": (
        HEAD + "  - id: a\n    kind: agent\n    waivers:\n      - {check: AGT-01, until: soon, reason: r, by: b}\n",
        6,
        "is no date",
    ),
    "impossible waiver date": (
        HEAD
        + "  - id: a\n    kind: agent\n    waivers:\n      - {check: AGT-01, until: 2027-02-30, reason: r, by: b}\n",
        6,
        "date",
    ),
    "waiver without reason": (
        HEAD + "  - id: a\n    kind: agent\n    waivers:\n      - {check: AGT-01, until: 2027-01-31, by: b}\n",
        6,
        "lacks `reason`",
    ),
    "waiver for no check": (
        HEAD + "  - id: a\n    kind: agent\n    waivers:\n      - {check: all, until: 2027-01-31, reason: r, by: b}\n",
        6,
        "is no check id",
    ),
    "bad env": (HEAD + "  - id: a\n    kind: agent\n    env: production\n", 5, "one of: prod, test, dev"),
    "active is text": (HEAD + "  - id: a\n    kind: agent\n    active: 'yes'\n", 5, "must be true or false"),
    "unknown wire format": (
        HEAD + "  - id: a\n    kind: agent\n    props:\n      wire_format: soap\n",
        6,
        "unknown wire_format",
    ),
    "wire format without address": (
        HEAD + "  - id: a\n    kind: llm_endpoint\n    props: {wire_format: openai_chat}\n",
        3,
        "has no address",
    ),
    "unknown key type": (HEAD + "  - id: a\n    kind: agent\n    keys: {ip: 1.2.3.4}\n", 5, "unknown key type `ip`"),
    "no scheme": (HEAD + "  - id: a\n    kind: agent\n    keys: {url: bank.example}\n", 5, "must start with http"),
    "launch without command": (
        HEAD + "  - id: a\n    kind: mcp_server\n    launch: {args: []}\n",
        5,
        "needs `command`",
    ),
    "command is text": (
        HEAD + "  - id: a\n    kind: mcp_server\n    launch: {command: npx -y x}\n",
        5,
        "a list of words",
    ),
    "pin is no hash": (
        HEAD + "  - id: a\n    kind: mcp_server\n    pin: {tools_sha256: abc}\n",
        5,
        "a pin is a SHA-256",
    ),
    "anchor": (HEAD + "  - &a {id: a, kind: agent}\n", 3, "not allowed"),
    "alias": (HEAD + "  - {id: a, kind: agent, props: {x: &x 1, y: *x}}\n", 3, "not allowed"),
    "tag": (HEAD + "  - !!python/object:os.system {id: a}\n", 3, "not allowed"),
    "too deep": (HEAD + "  - {id: a, kind: agent, props: " + "[" * 60 + "]" * 60 + "}\n", 3, "nested deeper"),
    "too large": (HEAD + "# " + "x" * 300_000 + "\n", 1, "larger than"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, name: str) -> None:
    text, line, words = MISTAKES[name]
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_inventory(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("secret", ["correct-horse-battery", "AKIAIOSFODNN7EXAMPLE", "hunter22"])
def test_no_error_repeats_a_secret(tmp_path: Path, secret: str) -> None:
    path = write(tmp_path, HEAD + f"  - id: a\n    kind: agent\n    props: {{api_key: {secret}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_inventory(path)
    assert secret not in str(caught.value)


def test_fields_that_only_sound_like_secrets_are_fine(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "  - id: a\n    kind: agent\n    props: {credential_age_days: 3, max_tokens: 9}\n")
    assert load_inventory(path).assets[0].props["max_tokens"] == 9


def test_a_declared_tool_is_keyed_as_its_server_lists_it(tmp_path: Path) -> None:
    server = "  - {id: mcp/a, kind: mcp_server, keys: {url: 'http://x/mcp'}}\n"
    path = write(tmp_path, HEAD + "  - {id: t, kind: tool, keys: {tool: 'mcp/a#pay'}}\n" + server)
    assert load_inventory(path).assets[0].natural_keys["tool"] == "url:http://x/mcp#pay"
    path = write(tmp_path, HEAD + server + "  - id: t\n    kind: tool\n    keys: {tool: 'mcp/b#pay'}\n")
    with pytest.raises(ConfigError, match=r":6: the key `tool: mcp/b#pay` must be"):
        load_inventory(path)


def test_a_missing_file_says_where_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"inventory\.example\.yaml"):
        load_inventory(tmp_path / "none.yaml")


def test_hostile_names_stay_data(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + """  - {id: a, kind: agent, name: "'; drop table x; -- <script>${jndi}"}\n""")
    assert load_inventory(path).assets[0].name == "'; drop table x; -- <script>${jndi}"


def test_the_example_is_valid() -> None:
    inventory = load_inventory(CONTENT_ROOT / "inventory.example.yaml")
    assert {a.kind for a in inventory.assets} >= {AssetKind.LLM_ENDPOINT}
