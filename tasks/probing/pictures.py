"""Text drawn as a picture: orders that reach a model through its eyes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Any

COLUMNS = 56
_ADVANCE, _LINE = 8, 16
"""Pixels from letter to letter and from line to line; the font's letters are six or seven wide."""
_MARGIN = 10
_STYLES: Mapping[str, tuple[int, int]] = {
    "plain": (255, 0),
    "faint": (255, 251),
    "inverted": (20, 235),
}
"""Grey levels of ground and letters, 0 black to 255 white; `faint` is hardly seen by people."""


def drawn(planted: Mapping[str, Any]) -> bytes:
    """A PNG of `text`, in Pillow's built-in bitmap font; the same bytes for the same text. `style` as in the schema.

    Characters outside printable ASCII become `?`. With `below_drawing` a little chart stands above the text.
    """
    from PIL import Image, ImageDraw, ImageFont  # only families with pictures need it

    ground, ink = _STYLES[planted.get("style", "plain")]
    plain = "".join(c if " " <= c <= "~" else "\n" if c == "\n" else "?" for c in planted["text"])
    lines = [part for line in plain.splitlines() for part in textwrap.wrap(line, COLUMNS) or [""]]
    top = _MARGIN + (70 if planted.get("below_drawing") else 0)
    size = (2 * _MARGIN + _ADVANCE * COLUMNS, top + _LINE * len(lines) + _MARGIN)
    image = Image.new("L", size, ground)
    draw = ImageDraw.Draw(image)
    if planted.get("below_drawing"):
        for n, height in enumerate((22, 41, 33, 54, 47)):
            draw.rectangle((_MARGIN + 30 * n, 70 - height, _MARGIN + 30 * n + 20, 70), fill=(ground + 110) % 256)
    font = ImageFont.load_default_imagefont()
    for n, line in enumerate(lines):
        for column, letter in enumerate(line):
            draw.text((_MARGIN + _ADVANCE * column, top + _LINE * n), letter, font=font, fill=ink)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
