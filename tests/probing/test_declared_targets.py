"""What the inventory declares about its probe targets is checked before anything is sent; problems have a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.discovery.inventory import load_inventory
from tasks.errors import ConfigError
from tasks.probing.estimate import declared_targets
from tasks.targets import registry
from tasks.targets.budget import load_prices

INVENTORY = """schema: aispm.inventory/1
assets:
  - id: llm/x
    kind: llm_endpoint
    name: X
    active: true
    keys: {{url: "https://x.example/v1"}}
    props:
      wire_format: {wire_format}
      {declared}
"""
BROKEN = {
    "limits are a mapping": ("openai_chat", "limits: 3", "`limits` takes requests_per_minute"),
    "an unknown limit": ("gemini", "limits: {requests_per_second: 3}", "`limits` takes requests_per_minute"),
    "a limit of nothing": ("anthropic_messages", "limits: {concurrency: 0}", "must be a whole number above 0"),
    "a limit in words": ("bedrock_converse", "limits: {tokens_per_minute: many}", "must be a whole number above 0"),
    "a template without a body": ("http_template", "http: {answer: /a}", "needs `http: {body:"),
    "a template with code": ("http_template", 'http: {body: {q: "{{ prompt.x }}"}, answer: /a}', "unknown variable"),
    "an answer that is no pointer": ("http_template", 'http: {body: {q: "{{ prompt }}"}, answer: a}', "JSON Pointer"),
    "a path out of the address": (
        "http_template",
        'http: {path: "//evil.example", body: {q: "{{ prompt }}"}, answer: /a, headers: {host: x}}',
        "cannot be set",
    ),
    "a tool without an argument": ("mcp", "tool: ask", "needs `tool` and `argument`"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_declaration_that_cannot_work_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    wire_format, declared, problem = BROKEN[name]
    path = tmp_path / "inventory.yaml"
    path.write_text(INVENTORY.format(wire_format=wire_format, declared=declared), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(problem)) as e:
        declared_targets(load_inventory(path))
    assert str(e.value).startswith(f"{path}:10: llm/x: ")


def test_what_is_missing_altogether_is_named_at_the_asset(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(INVENTORY.format(wire_format="mcp", declared="model: m"), encoding="utf-8")
    with pytest.raises(ConfigError, match="needs `tool` and `argument`") as e:
        declared_targets(load_inventory(path))
    assert str(e.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("schema: aispm.prices/1", "schema: other", 1),
        ("as_of: 2026-11-01", "as_of: lately", 2),
        ("models:", "currency: EUR\nmodels:", 3),
        ("output: 2", "output: 2.5", 4),
        (", output: 2", "", 4),
    ],
)
def test_a_price_table_names_its_line(old: str, new: str, line: int, tmp_path: Path) -> None:
    text = "schema: aispm.prices/1\nas_of: 2026-11-01\nmodels:\n  m: {input: 1, output: 2}\n"
    path = tmp_path / "prices.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as e:
        load_prices(path)
    assert str(e.value).startswith(f"{path}:{line}: ")


def test_the_example_shows_a_working_declaration_of_every_format(tmp_path: Path) -> None:
    """Its commented entries too."""
    example = (Path(__file__).parents[2] / "inventory.example.yaml").read_text(encoding="utf-8")
    path = tmp_path / "inventory.yaml"
    text = re.sub(r"(?m)^  # (?=- id:|  )", "  ", example).replace("    pin: {tools_sha256: <as", "    # ")
    path.write_text(text, encoding="utf-8")
    assert {t.props["wire_format"] for t in declared_targets(load_inventory(path))} == set(registry)
