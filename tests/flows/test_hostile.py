"""Hostile names and replies go through a whole run and come out inert everywhere, and unaltered in the lake."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from flow_homes import Home, asset_yaml, make_home
from pypdf import PdfReader
from small_target import HOSTILE, SmallTarget

from flows.closing import closing_lines
from flows.outcome import Outcome

pytestmark = pytest.mark.xdist_group("hostile")  # what they share takes long to make

NAMES = {
    "script": "<script>alert(1)</script>",
    "handler": '"><img src=x onerror=alert(1)>',
    "sql": "'; drop table findings; --",
    "formula": "=cmd|'/c calc'!A1",
    "template": "{{7*7}}",
    "ansi": "\x1b[31mred\x1b]0;title\x07",
    "bidi": "safe\u202egnp.exe",
}
OWNER = '=HYPERLINK("http://evil.example") <script>x</script> {{7*7}}'
ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Outcome]]:
    """One run over assets with hostile names and owners, whose replies are hostile too."""
    service = SmallTarget(**dict.fromkeys(NAMES, "hostile"))
    assets = [asset_yaml(key, service.url(key), shown=name, owner=OWNER) for key, name in NAMES.items()]
    home = make_home(tmp_path_factory.mktemp("hostile"), assets, ("prefix_injection", "direct_override"))
    yield home, home.inside()
    service.close()


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]


def test_the_run_itself_is_unharmed(ran: tuple[Home, Outcome]) -> None:
    _, outcome = ran
    assert (outcome.state, outcome.troubles) == ("complete", ())
    assert len(outcome.posture["findings"]) > len(NAMES)
    assert {a["name"] for a in outcome.posture["assets"]} >= {NAMES["script"], NAMES["sql"], NAMES["formula"]}


def test_the_lake_holds_names_and_replies_as_they_came(ran: tuple[Home, Outcome]) -> None:
    home, _ = ran
    stored = {row["name"] for row in home.rows("select distinct name from lake.observations where source = 'declared'")}
    assert stored == set(NAMES.values())
    excerpts = [row["excerpt"] for row in home.rows("select excerpt from lake.probe_attempts")]
    assert excerpts
    assert all(HOSTILE in excerpt for excerpt in excerpts)


def test_the_html_report_has_no_active_content(ran: tuple[Home, Outcome]) -> None:
    page = (ran[1].folder / "posture.html").read_text(encoding="utf-8")
    found = Elements()
    found.feed(page)
    assert not found.tags & {"script", "img", "iframe", "object", "embed", "form", "base"}
    assert not found.handlers
    assert not [link for link in found.links if not link.startswith("#")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{7*7}}" in page, "a template in data was evaluated or lost"
    assert not ESCAPES.search(page)


def test_csv_cells_run_nothing(ran: tuple[Home, Outcome]) -> None:
    rows = list(csv.reader(io.StringIO((ran[1].folder / "findings.csv").read_text(encoding="utf-8"))))
    assert len(rows) == len(ran[1].posture["findings"]) + 1
    assert len({len(row) for row in rows}) == 1, "a payload broke out of its cell"
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")]
    assert "'" + NAMES["formula"] in cells
    assert not [cell for cell in cells if ESCAPES.search(cell)]


def test_the_pdf_shows_the_payload_as_text(ran: tuple[Home, Outcome]) -> None:
    reader = PdfReader(ran[1].folder / "posture.pdf")
    text = "".join("".join(page.extract_text().split()) for page in reader.pages)
    for key in ("script", "sql", "formula", "template"):
        assert "".join(NAMES[key].split()) in text, key
    assert not [page for page in reader.pages if page.get("/AA") or "/JavaScript" in str(page.get("/Annots"))]
    assert "/OpenAction" not in reader.root_object


def test_the_terminal_gets_no_escape(ran: tuple[Home, Outcome]) -> None:
    home, outcome = ran
    for line in closing_lines(outcome, "aispm", 1.0):
        assert not ESCAPES.search(line)
    for command in (["finding", "ls"], ["assets", "ls"], ["sql", "select name, owner from assets"]):
        result = home.aispm(*command)
        assert result.returncode == 0, result.stderr
        assert not ESCAPES.search(result.stdout.replace("\n", "")), command
    assert "\\x1b[31mred" in result.stdout
    assert NAMES["sql"] in result.stdout


def test_json_for_programs_keeps_the_name_and_stays_json(ran: tuple[Home, Outcome]) -> None:
    result = ran[0].aispm("assets", "ls", "--json")
    assert {row["name"] for row in json.loads(result.stdout)["rows"]} >= set(NAMES.values())
    assert not ESCAPES.search(result.stdout.replace("\n", ""))
