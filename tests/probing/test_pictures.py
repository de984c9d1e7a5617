"""Texts become pictures: the same bytes for the same text, and every planted text can be read back from them."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.estate import eyes
from tasks.probing.catalog import load_families
from tasks.probing.expand import fixed_values, render, templates
from tasks.probing.pictures import drawn
from tasks.probing.plan import offered

FAMILY = load_families()["image_text_injection"]


def test_all_that_the_family_plants_stands_in_its_pictures() -> None:
    """Read by the bank's eyes, which know nothing of how it was drawn."""
    values = fixed_values(FAMILY)
    for template in templates(FAMILY):
        for image in render(FAMILY, FAMILY.seed(template.seed_id), template.transforms, values).plant["images"]:
            assert eyes.read(drawn(image)).split() == image["text"].split()


def test_a_picture_depends_on_its_text_alone() -> None:
    assert drawn({"text": "a"}) == drawn({"text": "a"})
    assert drawn({"text": "a"}) != drawn({"text": "a", "style": "faint"})
    assert eyes.read(drawn({"text": "caf\u00e9 \u00fcber 3"})) == "caf? ?ber 3"


@pytest.mark.parametrize(
    ("props", "there"),
    [
        ({"image_input": True}, True),
        ({}, False),
        ({"image_input": "yes"}, False),
        ({"image_input": True, "wire_format": "gemini"}, True),
        ({"image_input": True, "wire_format": "openai_responses"}, False),
    ],
)
def test_only_targets_that_take_pictures_are_sent_any(asset: Any, props: dict[str, Any], there: bool) -> None:
    assert ("images" in offered(asset("http://127.0.0.1:1/v1", **props))) is there
