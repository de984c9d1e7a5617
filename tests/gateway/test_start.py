"""The gateway starts alone, and only when everything it needs is in order."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.__main__ import main
from gateway.errors import ConfigError
from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_data_stack_is_not_imported():
    code = (
        "import sys, gateway.__main__, gateway.server; "
        "print([m for m in ('duckdb','prefect','polars','pyarrow','pandas','deltalake','boto3','tasks','flows') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_log_reader_needs_no_http_stack():
    code = (
        "import sys, tasks.gateway_logs; print([m for m in ('aiohttp','uvloop','nacl','prefect') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def check(capsys):
    """`--check` in this process: (exit code, what it said)."""

    def run(gateway):
        code = main(["--check", "--config", str(gateway.folder / "gateway.toml")])
        said = capsys.readouterr()
        assert said.out == ""
        return code, said.err

    return run


def test_check_says_yes_without_listening(gateway_factory, check):
    assert check(gateway_factory()) == (0, "")


def test_refuses_to_start_without_a_policy_that_holds(gateway_factory, policy, check):
    gateway = gateway_factory()
    bundle = (gateway.folder / "policy.json").read_bytes()
    (gateway.folder / "policy.json").write_bytes(bundle + b" ")
    assert check(gateway)[0] == 5
    policy.publish(issued=datetime(2020, 1, 1, tzinfo=UTC), expires=datetime(2020, 1, 2, tzinfo=UTC))
    assert "expired" in check(gateway)[1]
    policy.publish(audience=["other"])
    assert check(gateway)[0] == 5
    policy.publish()
    assert check(gateway)[0] == 0
    policy.version -= 2
    policy.publish()
    assert "older" in check(gateway)[1]
    type(policy)(gateway.folder)  # another root
    assert "two different roots" in check(gateway)[1]


def test_a_rule_that_cannot_be_enforced_is_named(gateway_factory, policy, check):
    policy.publish(rules={"future_pattern": {"request": "block", "response": "block"}})
    code, said = check(gateway_factory())
    assert code == 2
    assert "future_pattern" in said


def test_a_taken_port_is_named(gateway_factory, capsys):
    gateway = gateway_factory()
    config = gateway.folder / "gateway.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config.write_text(config.read_text().replace("port = 0", f"port = {taken.getsockname()[1]}"))
        code = main(["--config", str(config)])
    assert code == 2
    assert "cannot listen" in capsys.readouterr().err


def test_a_credential_that_leads_nowhere_is_named(gateway_factory, check):
    gateway = gateway_factory()
    (gateway.folder / "provider.key").unlink()
    code, said = check(gateway)
    assert code == 2
    assert "secret file" in said


GOOD = """gateway_id = "gw"
[policy]
file = "policy.json"
root = "root.1.json"
[spool]
folder = "spool"
[routes.default]
base_url = "http://127.0.0.1:1/v1"
credential = "file:key"
"""


def settings(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return load_settings(path)


def test_relative_paths_are_taken_from_the_settings_file(tmp_path):
    read = settings(tmp_path, GOOD)
    assert read.policy.file == tmp_path / "policy.json"
    assert read.spool.folder == tmp_path / "spool"
    assert read.routes["default"].credential == f"file:{tmp_path / 'key'}"
    assert (read.listen.host, read.limits.body_bytes, read.limits.depth) == ("127.0.0.1", 8 << 20, 64)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('gateway_id = "gw"', "", "`gateway_id` is missing"),
        ('gateway_id = "gw"', 'gateway_id = "G W"', ":1: `gateway_id` is made of"),
        ('gateway_id = "gw"', 'gateway_id = "gw"\ncolour = 1', ":2: unknown setting `colour`"),
        ('gateway_id = "gw"', "gateway_id = ", ":1: not valid TOML"),
        ('folder = "spool"', "folder = 5", ":6: `spool.folder` has the wrong type"),
        ('folder = "spool"', "", ":5: `spool.folder` is missing"),
        ('root = "root.1.json"', 'public_keys = ["policy.pub"]', ":4: unknown setting `policy.public_keys`"),
        ('root = "root.1.json"', "", ":2: `policy.root` is missing"),
        ("http://127.0.0.1:1/v1", "http://api.example.com/v1", ":8: `base_url` must be https"),
        ("http://127.0.0.1:1/v1", "ftp://127.0.0.1", ":8: `base_url` must be an absolute URL"),
        ('credential = "file:key"', 'api = "telepathy"', ":9: `api` is one of "),
        ('credential = "file:key"', 'aws_region = "eu-west-1"', ":9: `aws_region` is the name of a region"),
        ('credential = "file:key"', 'wire_format = "openai_chat"', ":9: unknown setting `routes.default.wire_format`"),
        ("[routes.default]", "[routes.v1]", "a route's name"),
        ("[routes.default]", '[listen]\nhost = "0.0.0.0"\n[routes.default]', ":8: without `tls_cert`"),
        ("[routes.default]", "[listen]\nport = 70000\n[routes.default]", ":8: `listen.port` is out of range"),
        ("[routes.default]", "[limits]\ndepth = 65\n[routes.default]", ":8: `limits.depth` is at most 64"),
        ("[routes.default]", "[limits]\nbody_bytes = 0\n[routes.default]", ":8: `limits.body_bytes` is out of range"),
        ("[routes.default]", "[limits]\nbody_bytes = true\n[routes.default]", ":8: `limits.body_bytes` has the wrong"),
    ],
)
def test_wrong_settings_are_named_with_their_line(tmp_path, old, new, said):
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, GOOD.replace(old, new))
    assert said in str(caught.value)


def test_settings_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(tmp_path / "nope.toml")


def test_a_gateway_that_starts_from_nothing_answers_and_ends(gateway_factory):
    """Those of the other tests are forked."""
    gateway = gateway_factory()
    command = [sys.executable, "-m", "gateway", "--config", str(gateway.folder / "gateway.toml")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            gateway.url = json.loads(process.stdout.readline())["url"]
            assert gateway.post(gateway.chat("Hi")).status_code == 200
        finally:
            process.terminate()
        assert process.wait(20) == 0
