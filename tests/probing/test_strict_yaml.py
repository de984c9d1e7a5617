"""The strict YAML reader accepts plain data and names the line of everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ConfigError
from tasks.strict_yaml import MAX_DEPTH, load_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: &x 2\n", 2, "anchor"),
        ("a: 1\nb: *x\n", 2, "alias"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "tag"),
        ("a: 1\nb: !custom x\n", 2, "tag"),
        ("%YAML 1.1\n---\na: 1\n", 1, "directive"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("---\na: 1\n---\nb: 2\n", 3, "second document"),
        ("a: 1\nb: 2\na: 3\n", 3, "twice"),
        ("a:\n  <<: {b: 1}\n", 2, "merge"),
        ("1: a\n", 1, "not text"),
        ("a: [1\nb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: \x07\n", 2, "not valid YAML"),
        ("a: 1\n" + "b: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "\n", 2, "deeper"),
    ],
)
def test_refuses_with_the_line(text: str, line: int, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as e:
        parse_yaml(text, "f.yaml")
    assert str(e.value).startswith(f"f.yaml:{line}: ")


def test_reads_plain_data_and_knows_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# why\n---\na: 1\nb:\n  - {c: yes, d: 'x'}\n  - null\n", encoding="utf-8")
    data, lines = load_yaml(path)
    assert data == {"a": 1, "b": [{"c": True, "d": "x"}, None]}
    assert lines["b", 0, "d"] == 5
    assert lines["a",] == 3


def test_refuses_files_that_are_too_large_or_not_text(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_bytes(b"a: " + b"x" * 300_000)
    with pytest.raises(ConfigError, match="larger than"):
        load_yaml(big)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"binary\.yaml:2: not valid UTF-8"):
        load_yaml(binary)
    with pytest.raises(ConfigError, match="cannot read"):
        load_yaml(tmp_path / "absent.yaml")
