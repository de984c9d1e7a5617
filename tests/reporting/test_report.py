"""One posture, four renderings: equal counts, inert data, the same bytes twice, and every cut said."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from tasks.errors import ConfigError, IncompleteError
from tasks.reporting import as_pdf, report
from tasks.reporting.as_html import MAX_BYTES, render_html
from tasks.reporting.pdf_layout import fit
from tasks.reporting.report import ReportFiles, write_report
from tasks.reporting.schema import CONTROL_STATES, SEVERITIES
from tasks.reporting.signing import create_keypair, load_public_key, load_signer, verify_file
from tasks.reporting.text import clean
from tasks.settings import CONTENT_ROOT

pytestmark = pytest.mark.xdist_group("report")  # what they share takes long to make

Make = Callable[..., dict[str, Any]]
KEY_ID = "0123456789abcdef"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, posture_builder: Make) -> dict[str, ReportFiles]:
    """A clean and a hostile report, written once."""
    folder = tmp_path_factory.mktemp("reports")
    signer = load_signer(create_keypair(folder / "keys", "demo")[0])
    return {
        name: write_report(posture_builder(44, hostile=name == "hostile"), folder / name, signer)
        for name in ("clean", "hostile")
    }


class Dom(HTMLParser):
    """Tags with attributes, text by innermost tag, and cell texts of elements that carry an id."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.cells: dict[str, list[str]] = {}
        self.open: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link", "img", "rect", "line"):
            self.open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = self.open[-1][0] if self.open else ""
        self.texts.append((inside, data))
        if inside in ("td", "th") and data.strip():
            for _, name in self.open:
                if name:
                    self.cells.setdefault(name, []).append(data.strip())

    @property
    def text(self) -> str:
        return "".join(data for tag, data in self.texts if tag != "style")


@functools.cache
def dom(files: ReportFiles) -> Dom:
    return Dom(files.html.read_text(encoding="utf-8"))


@functools.cache
def pdf_text(files: ReportFiles) -> str:
    assert files.pdf is not None, files.pdf_failure
    return "\n".join(page.extract_text() for page in PdfReader(files.pdf).pages)


def posture(files: ReportFiles) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files.posture.read_bytes())
    return loaded


def rows(path: Path) -> list[dict[str, str]]:
    # The csv module's own limit per cell is lower than ours.
    csv.field_size_limit(200_000)
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


@pytest.mark.parametrize("name", ["clean", "hostile"])
def test_the_package_verifies_with_the_key(written: dict[str, ReportFiles], name: str) -> None:
    files = written[name]
    key = load_public_key(files.folder.parent / "keys" / "demo.pub")
    assert verify_file(files.package, key).status == "ok"
    assert verify_file(files.posture, key).status == "ok"
    listed = {f["path"] for f in json.loads(files.package.read_bytes())["files"]}
    present = {p.name for p in files.folder.iterdir()}
    assert listed == present - {"package.json", "package.json.sig"}
    assert present >= {"verify.py", "README.txt", "demo.pub", "posture.pdf"}


@pytest.mark.parametrize("name", ["clean", "hostile"])
def test_counts_are_equal_in_json_html_csv_and_pdf(written: dict[str, ReportFiles], name: str) -> None:
    files = written[name]
    p, page, pdf = posture(files), dom(files), pdf_text(files)
    findings, states = p["summary"]["findings"], p["summary"]["control_states"]

    cells = page.cells["count-findings"]
    assert {s: int(cells[cells.index(s) + 1]) for s in SEVERITIES} == findings
    assert [int(c) for c in page.cells["count-controls"][1:]] == [states[s] for s in CONTROL_STATES] + [
        p["summary"]["controls_total"]
    ]

    found = [r for r in rows(files.findings_csv) if r["state"] not in ("fixed", "false_positive")]
    assert {s: sum(r["severity"] == s for r in found) for s in SEVERITIES} == findings
    controls = rows(files.controls_csv)
    assert {s: sum(r["state"] == s for r in controls) for s in states} == states

    flat = " ".join(pdf.split())
    said = re.search(r"Findings: critical (\d+).*?high (\d+).*?medium (\d+).*?low (\d+).*?info (\d+)", flat)
    assert said is not None
    assert [int(n) for n in said.groups()] == [findings[s] for s in SEVERITIES]
    assert f"All {' '.join(str(states[s]) for s in CONTROL_STATES)} {p['summary']['controls_total']}" in flat


def test_all_renderings_carry_the_digest_the_key_and_the_labels(written: dict[str, ReportFiles]) -> None:
    files = written["clean"]
    digest = hashlib.sha256(files.posture.read_bytes()).hexdigest()
    assert digest == files.posture_sha256
    for text in (dom(files).text, pdf_text(files), (files.folder / "README.txt").read_text(encoding="utf-8")):
        assert digest in text
        assert load_signer(files.folder.parent / "keys" / "demo.key").key_id in text
        assert "offline judges" in text
        assert "DEMO" in text
        assert "sandbox" not in text


def test_every_page_of_the_pdf_repeats_the_labels(written: dict[str, ReportFiles]) -> None:
    assert written["clean"].pdf is not None
    for page in PdfReader(written["clean"].pdf).pages:
        assert "offline judges" in page.extract_text()
        assert "DEMO" in page.extract_text()


def test_hostile_text_is_inert_in_html(written: dict[str, ReportFiles]) -> None:
    page = dom(written["hostile"])
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "form", "base", "a:href", "image", "use"}
    assert sum(tag == "style" for tag, _ in page.tags) == 1
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "srcdoc")], tag
        assert (attributes.get("href") or "#").startswith("#")
        assert (attributes.get("http-equiv") or "Content-Security-Policy") == "Content-Security-Policy"
    for literal in ("<script>alert(1)</script>", "{{7*7}}", "</style><script>", '"><img src=x onerror=alert(1)>'):
        assert literal in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.text)
    assert "… cut, sha256 " + hashlib.sha256(b"x" * 1_000_000).hexdigest() in page.text


def test_html_and_clean_twin_have_the_same_structure(written: dict[str, ReportFiles]) -> None:
    """Data can add no element: only findings' optional parts differ, and here both have the same."""
    shapes = {
        name: [(tag, sorted(k for k in attributes if k != "id")) for tag, attributes in dom(files).tags]
        for name, files in written.items()
    }
    assert shapes["clean"] == shapes["hostile"]


def test_no_csv_cell_is_a_formula(written: dict[str, ReportFiles]) -> None:
    text = written["hostile"].findings_csv.read_text(encoding="utf-8")
    for row in csv.reader(io.StringIO(text, newline="")):
        for cell in row:
            assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝")), cell[:40]
    assert "\"'=cmd|'/C calc'!A0\"" in text
    assert '"\'; drop table findings; --"' in text
    assert all(line.startswith('"') for line in text.split("\r\n") if line)
    assert "\x1b" not in text


def test_hostile_text_is_literal_in_pdf(written: dict[str, ReportFiles], hostile_strings: tuple[str, ...]) -> None:
    squeezed = re.sub(r"\s", "", pdf_text(written["hostile"]))
    for text in hostile_strings[:-1]:
        assert re.sub(r"\s", "", fit(text)) in squeezed, text
    assert "…cut,sha256" in squeezed
    assert "root:x:0" not in squeezed


def test_the_pdf_fetches_and_runs_nothing(written: dict[str, ReportFiles]) -> None:
    assert written["hostile"].pdf is not None
    reader = PdfReader(written["hostile"].pdf)
    root = reader.trailer["/Root"]
    assert "/OpenAction" not in root
    assert "/Names" not in root or "/JavaScript" not in root["/Names"]
    assert root["/Lang"] == "en-GB"
    assert not any(page.get("/Annots") for page in reader.pages)
    assert not any(page.images for page in reader.pages)
    assert [o["/Title"] for o in reader.outline if isinstance(o, dict)][:2] == ["1  Summary", "2  Method and sources"]


def test_text_that_the_font_cannot_show_is_spelled_out() -> None:
    assert fit("日x") == "\\u{65e5}x"
    assert fit("a\u202eb\x00c") == "a\\u{fffd}b\\u{fffd}c"
    assert fit("łóşİ") == "łóşİ"


def test_long_text_is_cut_with_its_digest() -> None:
    text = "é" * 2_001
    assert clean(text) == "é" * 2_000 + " … cut, sha256 " + hashlib.sha256(text.encode()).hexdigest()
    assert clean("é" * 2_000) == "é" * 2_000


def test_the_same_posture_gives_the_same_bytes(tmp_path: Path, make_posture: Make) -> None:
    signer = load_signer(create_keypair(tmp_path / "keys", "k")[0])
    first = write_report(make_posture(12), tmp_path / "a", signer)
    second = write_report(make_posture(12), tmp_path / "b", signer)
    assert first.pdf_failure is None
    one = {p.name: p.read_bytes() for p in first.folder.iterdir()}
    two = {p.name: p.read_bytes() for p in second.folder.iterdir()}
    assert one == two


def test_a_failed_pdf_does_not_stop_the_rest(
    tmp_path: Path, make_posture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = load_signer(create_keypair(tmp_path / "keys", "k")[0])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "posture.pdf").write_bytes(b"of an older run")
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")

    def fails(*_: object, **__: object) -> None:
        raise IncompleteError("the PDF took longer than 60 s")

    monkeypatch.setattr(report, "render_pdf", fails)
    files = write_report(make_posture(3), tmp_path / "out", signer)
    assert files.pdf is None
    assert files.pdf_failure == "the PDF took longer than 60 s"
    assert not (tmp_path / "out" / "posture.pdf").exists()
    assert (tmp_path / "out" / "notes.txt").exists()
    assert verify_file(files.package, signer.public_key).status == "ok"
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]


def test_the_pdf_child_is_stopped_at_its_deadline(written: dict[str, ReportFiles], tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="longer than 0 s"):
        as_pdf.render_pdf(written["clean"].posture, tmp_path / "x.pdf", timeout_s=0)
    assert list(tmp_path.iterdir()) == []


def test_a_pdf_failure_never_quotes_what_was_rendered(tmp_path: Path) -> None:
    (tmp_path / "posture.json").write_text('{"schema":"AKIA-secret-in-data"', encoding="utf-8")
    with pytest.raises(IncompleteError) as failure:
        as_pdf.render_pdf(tmp_path / "posture.json", tmp_path / "x.pdf", timeout_s=60)
    assert "ValueError" in str(failure.value)
    assert "AKIA" not in str(failure.value)


def test_an_invalid_posture_writes_nothing(tmp_path: Path, make_posture: Make) -> None:
    signer = load_signer(create_keypair(tmp_path / "keys", "k")[0])
    broken = make_posture(3)
    broken["summary"]["score_best"] = 68.5
    with pytest.raises(ConfigError, match="score_best: int is expected, not float"):
        write_report(broken, tmp_path / "out", signer)
    assert not (tmp_path / "out").exists()


def html(p: dict[str, Any]) -> str:
    return render_html(p, document_sha256="0" * 64, key_id=KEY_ID)


def test_the_page_stays_below_two_megabytes_and_says_what_it_left_out(make_posture: Make) -> None:
    page = html(make_posture(2_000))
    assert len(page.encode()) <= MAX_BYTES
    assert "500 of 2,000 findings" in page
    worst = make_posture(600)
    for finding in worst["findings"]:
        finding["summary"] = finding["fix"] = finding["title"] = "<" * 5_000
    page = html(worst)
    assert len(page.encode()) <= MAX_BYTES
    assert re.search(r"Cut: \d+ of 600 findings", page)


def test_every_printed_query_names_a_view_of_the_lake(make_posture: Make) -> None:
    big = make_posture(600)
    big["assets"] = [{**big["assets"][0], "asset_id": f"llm/{n}"} for n in range(600)]
    big["controls"] = [{**big["controls"][0], "key": f"owasp-llm@2025:X{n}"} for n in range(600)]
    big["probes"] = [{**big["probes"][0], "asset_id": f"llm/{n}"} for n in range(600)]
    big["scope"]["sources"] = big["scope"]["sources"] * 200
    big["exceptions"] = big["exceptions"] * 600
    big["gateway"]["by_reason"] = big["gateway"]["by_reason"] * 200
    big["findings"][0]["controls"] = big["findings"][0]["controls"] * 20
    queries = re.findall(r"aispm sql &#34;from (\w+)", html(big)) or re.findall(r'aispm sql "from (\w+)', html(big))
    assert len(set(queries)) >= 6
    marts = {p.stem for p in (CONTENT_ROOT / "sql" / "views" / "marts").glob("*.sql")}
    assert set(queries) <= marts


def test_the_style_is_the_only_thing_the_page_policy_allows(written: dict[str, ReportFiles]) -> None:
    page = written["clean"].html.read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = dict(t for t in dom(written["clean"]).tags if t[1].get("http-equiv"))["meta"]["content"]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_page_is_accessible_in_structure(written: dict[str, ReportFiles]) -> None:
    page = dom(written["clean"])
    assert ("html", {"lang": "en"}) in page.tags
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"]} <= set(ids)
    assert all(a.get("scope") in ("col", "row") for tag, a in page.tags if tag == "th")
    kinds = [tag for tag, _ in page.tags]
    assert kinds.count("svg") == kinds.count("desc") >= 5
    assert all(a.get("role") == "img" and a.get("aria-labelledby") for tag, a in page.tags if tag == "svg")
    levels = [int(tag[1]) for tag in kinds if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_at_least_four_and_a_half_in_both_schemes() -> None:
    """WCAG 2.2, success criterion 1.4.3."""
    style = (Path(as_pdf.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    blocks = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", b)) for b in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(blocks) == 3
    light = blocks[0]
    for scheme in (light, {**light, **blocks[1]}, {**light, **blocks[2]}):
        for ground in ("paper", "wash"):
            for ink in set(scheme) - {"paper", "wash", "line", "cover", "cover-ink", "cover-quiet", "mark", "mark-ink"}:
                assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground, scheme[ink])
        for ink in ("cover-ink", "cover-quiet"):
            assert contrast(scheme[ink], scheme["cover"]) >= 4.5
        assert contrast(scheme["mark-ink"], scheme["mark"]) >= 4.5


def test_an_empty_posture_renders_without_a_claim(make_posture: Make) -> None:
    empty = make_posture(0)
    for member in ("assets", "controls", "coverage", "probes", "judges", "trend", "exceptions", "catalogs", "gaps"):
        empty[member] = []
    empty["scope"] = {"assets": 0, "kinds": [], "sources": []}
    empty["labels"] = {"judges": "no judges", "proof": []}
    empty["summary"].update(
        score_best=None, score_worst=None, coverage_ppm=None, grade=None, delta=None, newly_failing=[],
        newly_passing=[], controls_total=0, control_states=dict.fromkeys(CONTROL_STATES, 0),
    )  # fmt: skip
    empty["gateway"] = {"requests": 0, "allow": 0, "redact": 0, "flag": 0, "block": 0, "by_reason": []}
    empty["evidence"].update(run_root=None, chain_seq=None, prev=None, key_id=None)
    page = Dom(html(empty)).text
    assert "no score" in page
    assert "No open finding. Read this with" in page
    assert "100.0 %" not in page
    assert as_pdf.build_pdf(empty, document_sha256="0" * 64, key_id=KEY_ID).startswith(b"%PDF")


def test_the_first_run_claims_no_change_and_a_check_has_no_rate(make_posture: Make) -> None:
    first = make_posture(30)
    first["run"]["previous_run_id"] = None
    first["summary"].update(delta=None, newly_failing=[], newly_passing=[])
    for finding in first["findings"]:
        if finding["finding_kind"].startswith("check."):
            finding.update(hits=1, trials=1)
    page = Dom(html(first)).text
    assert "since the previous run" not in page
    assert "1 of 1" not in page
    assert "posture check" in page


def test_no_control_is_named_without_its_framework_edition(written: dict[str, ReportFiles]) -> None:
    for text in (pdf_text(written["clean"]), dom(written["clean"]).text):
        flat = re.sub(r"\s", "", text)
        for control in ("LLM03", "AML.T0004", "ASI05"):
            assert (
                len(re.findall(re.escape(control), flat)) == len(re.findall(r"@[\d.]+:" + re.escape(control), flat)) > 0
            )
