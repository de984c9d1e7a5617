"""The bank's assistant reads what is drawn, from the pixels alone."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image, ImageDraw, ImageFont

from tasks.estate import eyes
from tasks.estate.assistant import read_talk
from tasks.estate.endpoint import Refused

LINES = ('Receipt No. 4807: "tea" & {rice} ~ 0O1lI|', "(second line; quite, short!) _ @ #")


def picture(lines: tuple[str, ...], *, left: int = 13, top: int = 7, ground: int = 255, ink: int = 0) -> bytes:
    image = Image.new("L", (420, 80), ground)
    draw = ImageDraw.Draw(image)
    for n, line in enumerate(lines):
        for column, letter in enumerate(line):
            place = (left + 8 * column, top + 17 * n)
            draw.text(place, letter, font=ImageFont.load_default_imagefont(), fill=ink)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(("left", "top"), [(13, 7), (10, 0), (4, 3), (0, 30)])
@pytest.mark.parametrize(("ground", "ink"), [(255, 0), (255, 254), (10, 200)])
def test_lines_are_read_wherever_and_in_whatever_grey_they_stand(left: int, top: int, ground: int, ink: int) -> None:
    assert eyes.read(picture(LINES, left=left, top=top, ground=ground, ink=ink)) == "\n".join(LINES)


def test_a_letter_that_is_changed_by_a_pixel_is_not_guessed() -> None:
    with Image.open(io.BytesIO(picture(("Receipt",)))) as image:
        ImageDraw.Draw(image).point((15, 14), fill=0 if image.getpixel((15, 14)) else 255)
        out = io.BytesIO()
        image.save(out, "PNG")
    assert eyes.read(out.getvalue()) == ""


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be opened"):
        eyes.read(b"\x89PNG\r\n\x1a\n nothing")


def part(url: str) -> dict[str, object]:
    content = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": content}]}


def test_the_assistant_sees_pictures_in_the_message_and_fetches_none() -> None:
    encoded = base64.b64encode(picture(LINES)).decode()
    talk = read_talk(part(f"data:image/png;base64,{encoded}"), "")
    assert talk.pictures == (" ".join(LINES),)
    for url in ("https://pictures.example/x.png", "data:image/png;base64,AAAA", "data:text/plain;base64,AAAA"):
        with pytest.raises(Refused):
            read_talk(part(url), "")
