"""Every pattern file hits its own examples, misses its near misses, and is linear by construction."""

from __future__ import annotations

import pytest
import yaml

from gateway.engine import Engine
from gateway.errors import ConfigError
from gateway.pattern_files import PATTERNS, load_patterns
from gateway.policy.bundle import CATEGORIES

ALL = load_patterns()


def test_all_categories_are_covered():
    assert {p.category for p in ALL} == set(CATEGORIES)
    assert len(ALL) >= 48


@pytest.mark.parametrize("pattern", ALL, ids=lambda p: p.id)
def test_examples(pattern):
    engine = Engine([pattern])
    for text in pattern.match:
        for around in (text, f"see: {text}\nnext", f"\u201c{text}\u201d", f"ünïcode İ {text} ß"):
            hits = engine.scan(around)
            assert len(hits) == 1, around
            assert hits[0].end - hits[0].match_start <= pattern.width
    for text in pattern.no_match:
        assert engine.scan(text) == [], text


@pytest.mark.parametrize("pattern", ALL, ids=lambda p: p.id)
def test_a_hit_is_found_anywhere_in_a_long_text(pattern):
    """The windows around literals are wide enough, and a refused candidate does not hide a hit after it."""
    engine = Engine([pattern])
    noise = "lorem ipsum dolor sit amet, " * 300
    between = "\n" if pattern.hold == "token" else noise[:700]  # some hits span that much, or any number of words
    text = noise + pattern.no_match[0] + between + pattern.match[0] + "\n" + noise
    assert [text[h.start : h.end] in pattern.match[0] for h in engine.scan(text)] == [True]


@pytest.mark.parametrize("pattern", ALL, ids=lambda p: p.id)
def test_a_later_start_sees_what_a_whole_scan_sees(pattern):
    engine = Engine([pattern])
    text = pattern.match[0] + " and " + pattern.match[1]
    whole = engine.scan(text)
    assert engine.scan(text, whole[0].end) == whole[1:]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"verify": "a+"},
        {"verify": "("},
        {"reason": "DLP.NEW"},
        {"category": "all"},
        {"action": {"request": "drop", "response": "block"}},
        {"validator": "magic"},
        {"hold": "forever"},
        {"anchor": []},
        {"match": [["x"]]},
        {"comment": "x"},
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, change):
    data = yaml.safe_load((PATTERNS / "gitlab_token.yaml").read_text())
    (tmp_path / "gitlab_token.yaml").write_text(yaml.safe_dump({**data, **change}))
    with pytest.raises(ConfigError, match=r"gitlab_token\.yaml"):
        load_patterns(tmp_path)


def test_broken_yaml_is_refused_with_its_line(tmp_path):
    (tmp_path / "p.yaml").write_text("id: p\ntitle: [\n")
    with pytest.raises(ConfigError, match=r"p\.yaml:\d"):
        load_patterns(tmp_path)
