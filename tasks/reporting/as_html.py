"""The posture as one HTML file: no script, nothing fetched, readable with every style switched off."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.reporting import charts, figures, schema
from tasks.reporting.text import clean

MAX_BYTES = 2_000_000
"""Pages of peers with every row in them do not load; above this the page shows fewer rows and says so."""

ROWS = ((500, 500), (350, 500), (250, 500), (100, 250), (40, 100), (10, 40))
"""Findings and rows of any other table, tried in this order until the page fits."""

_TEMPLATES = Path(__file__).parent / "templates"


def render_html(posture: Mapping[str, Any], *, document_sha256: str, key_id: str) -> str:
    """The page for a valid posture, at most `MAX_BYTES` UTF-8 bytes. The same input gives the same bytes.

    `document_sha256` is the digest of `posture.json`, which the page prints so that a reader can tie the two.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else clean("" if value is None else value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=figures.percent,
        thousands=figures.thousands,
        signed=figures.signed,
        kind=figures.kind_name,
        day=figures.day,
        minute=figures.minute,
    )
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    template = environment.get_template("posture.html.j2")
    page = ""
    for finding_rows, rows in ROWS:
        page = template.render(
            p=posture,
            f=figures,
            charts=charts,
            schema=schema,
            findings=figures.ordered_findings(posture),
            frameworks=figures.frameworks(posture),
            finding_rows=finding_rows,
            rows=rows,
            document_sha256=document_sha256,
            key_id=key_id,
            style=Markup(style),  # noqa: S704  # our own file
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        )
        if len(page.encode()) <= MAX_BYTES:
            break
    return page
