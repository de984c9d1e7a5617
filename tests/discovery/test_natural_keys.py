from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.discovery.natural_keys import canonical_launch, is_loopback, normalise_url, strongest, without_secrets


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://API.Bank.Example:443/v1/", "https://api.bank.example/v1"),
        ("http://127.0.0.1:8080/mcp", "http://127.0.0.1:8080/mcp"),
        ("https://user:secret@bank.example/v1?key=1#x", "https://bank.example/v1"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("https://bank.example/Case/Kept", "https://bank.example/Case/Kept"),
        ("not a url", "not a url"),
        ("http://host:notaport/", "http://host:notaport/"),
    ],
)
def test_urls_are_compared_in_one_form(url: str, expected: str) -> None:
    assert normalise_url(url) == expected


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_url(text)
    assert normalise_url(once) == once


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.2:1/", True), ("http://localhost/", True), ("http://[::1]/", True), ("http://10.0.0.1/", False),
     ("http://bank.example", False), ("nonsense", None), ("http://[broken", None)],
)  # fmt: skip
def test_loopback(url: str, expected: bool | None) -> None:
    assert is_loopback(url) is expected


def test_a_launch_is_known_by_package_and_arguments_without_secrets() -> None:
    key = canonical_launch("pkg:npm/@mcp/fs@2026.8.31", ["npx"], ["/srv/kb", "--api-key", "hunter2", "--token=abc"])
    assert key == "pkg:npm/@mcp/fs@2026.8.31 /srv/kb --api-key … --token=…"
    assert "hunter2" not in " ".join(without_secrets(["--api-key", "hunter2"]))


def test_a_runner_in_a_client_file_names_the_same_package_as_a_declaration() -> None:
    configured = canonical_launch(None, ["npx"], ["-y", "@mcp/fs@2026.8.31", "/srv/kb"])
    declared = canonical_launch("pkg:npm/@mcp/fs@2026.8.31", ["npx"], ["/srv/kb"])
    assert configured == declared


def test_the_strongest_key_names_the_asset() -> None:
    assert strongest({"inventory_id": "a", "url": "http://x", "arn": "arn:1"}) == ("arn", "arn:1")
    with pytest.raises(ValueError, match="no natural key"):
        strongest({"colour": "blue"})
