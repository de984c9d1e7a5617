"""How the bank's assistant reads text in pictures: it compares every cell of a line with the letters of one font.

A small reader for printed screens, not for photographs: letters of Pillow's built-in bitmap font on a grid of 8 by 11
pixels, in any grey on any even ground.
"""

from __future__ import annotations

import io
from functools import cache

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 8, 11
MAX_PIXELS = 2_000_000
_FEWEST = 3
"""Letters that make a line; fewer are marks of a drawing."""


def read(picture: bytes) -> str:
    """The lines of text in a picture, in order. Raises ValueError when it is none that can be opened."""
    try:
        with Image.open(io.BytesIO(picture)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError("the picture is too large")
            grey = opened.convert("L")
    except (OSError, SyntaxError, Image.DecompressionBombError) as e:
        raise ValueError("the picture cannot be opened") from e
    width, height = grey.size
    pixels = grey.tobytes()
    ground = max(set(pixels), key=pixels.count)
    rows = [[pixel != ground for pixel in pixels[y * width : (y + 1) * width]] for y in range(height)]
    lines = []
    for first, last in _bands(rows):
        if last - first < HEIGHT and (line := _line(rows, first, last)):
            lines.append(line)
    return "\n".join(lines)


def _bands(rows: list[list[bool]]) -> list[tuple[int, int]]:
    """(first, last) row of every stretch of rows with something on them."""
    bands: list[tuple[int, int]] = []
    start: int | None = None
    for y, row in enumerate([*rows, []]):
        if any(row) and start is None:
            start = y
        elif not any(row) and start is not None:
            bands.append((start, y - 1))
            start = None
    return bands


def _line(rows: list[list[bool]], first: int, last: int) -> str:
    """The text of a band, under the placement of the grid at which every cell is a letter."""
    letters = _letters()
    for top in range(first, last - HEIGHT, -1):
        for left in range(WIDTH):
            text = ""
            for x in range(left - WIDTH, len(rows[first]), WIDTH):
                letter = letters.get(_cell(rows, x, top))
                if letter is None:
                    break
                text += letter
            else:
                if len(text.replace(" ", "")) >= _FEWEST:
                    return text.strip()
    return ""


def _cell(rows: list[list[bool]], left: int, top: int) -> tuple[bool, ...]:
    return tuple(
        0 <= y < len(rows) and 0 <= x < len(rows[y]) and rows[y][x]
        for y in range(top, top + HEIGHT)
        for x in range(left, left + WIDTH)
    )


@cache
def _letters() -> dict[tuple[bool, ...], str]:
    font = ImageFont.load_default_imagefont()
    found: dict[tuple[bool, ...], str] = {}
    for code in range(32, 127):
        cell = Image.new("L", (WIDTH, HEIGHT), 0)
        ImageDraw.Draw(cell).text((1, 0), chr(code), font=font, fill=255)
        found[tuple(pixel > 0 for pixel in cell.tobytes())] = chr(code)
    return found
