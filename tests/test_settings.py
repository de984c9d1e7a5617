"""Where a mistake in `aispm.toml` is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ConfigError
from tasks.settings import load_settings

GOOD = "[discovery]\ntimeout_s = 3\n\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[probing]\ntimeout_s = 'long'\n", 5),
        ("[probing]\nseed = 1\ntimeout_s = 0\n", 6),
        ("[discovery.aws]\nenabled = 3\n", 5),
        ("[discovery.azure]\nenabled = true\n", 4),
        ("judging = {meta_floor = 'x'}\n", 4),
    ],
)
def test_the_line_is_that_of_the_setting_in_its_own_table(text: str, line: int, tmp_path: Path) -> None:
    """Also when another table has a setting of the same name."""
    file = tmp_path / "aispm.toml"
    file.write_text((GOOD + text) if text.startswith("[") else f"\n\n\n{text}{GOOD}", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_settings(file)
    assert refused.value.line == line
