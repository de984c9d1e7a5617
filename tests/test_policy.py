"""`aispm policy`: from an empty folder to publications that gateways accept, and what is refused on the way."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.cli import main
from gateway.errors import VerificationError
from gateway.policy.bundle import find_agent
from gateway.policy.files import PublishedFolder, load_policy
from tasks.policy import folder as files
from tasks.policy.folder import Folder
from tasks.policy.publications import change_root, check, init_folder, publish, read_draft, write_draft
from tasks.policy.roots import Change

NOW = datetime.now(UTC)


@pytest.fixture
def aispm(capsys, monkeypatch, tmp_path):
    """Run a command in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["aispm", "policy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def signing(aispm, tmp_path):
    """A folder of one person: keys made here, one agent, published once. The agent's key is `agent-key`."""
    (tmp_path / "agent.key").write_text("agent-key\n")
    assert aispm("init", "p", "--tenant", "nimbus", "--audience", "gw-1")[0] == 0
    assert (
        aispm(
            "add-agent", "p", "support", "--asset", "llm/support", "--tool", "get_balance", "--key-file", "agent.key"
        )[0]
        == 0
    )
    assert aispm("publish", "p")[0] == 0
    return Folder(tmp_path / "p")


def gateway(folder, tmp_path, gateway_id="gw-1"):
    """What a gateway, installed with the first root, has in force after looking into the folder."""
    memory = tmp_path / "memory.json"
    return load_policy(
        PublishedFolder(folder.policy), folder.published_root(1), gateway_id, memory, datetime.now(UTC), lambda p: p
    )


def test_the_first_user_needs_three_commands(signing, aispm, tmp_path):
    policy = gateway(signing, tmp_path)
    agent = find_agent(policy, "agent-key")
    assert (policy.version, policy.epoch, agent.id, agent.asset_id) == (1, 1, "support", "llm/support")
    code, out, _ = aispm("verify", "p", "--gateway", "gw-1")
    assert (code, out.split(",")[0]) == (0, "ok: version 1")
    for key in ("root.key", "policy.key"):
        assert stat.S_IMODE((signing.path / "keys" / key).stat().st_mode) == 0o600
    assert "agent-key" not in signing.draft.read_text() + signing.policy.read_text()


def test_a_made_agent_key_is_shown_once_and_stored_nowhere(signing, aispm, tmp_path):
    code, out, _ = aispm("add-agent", "p", "second")
    assert code == 0
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", out)
    aispm("publish", "p")
    assert find_agent(gateway(signing, tmp_path), out.strip()).id == "second"
    assert not [p for p in signing.path.rglob("*") if p.is_file() and out.strip() in p.read_text()]
    assert aispm("add-agent", "p", "second")[0] == 2


def test_an_agent_is_revoked_by_one_publication_and_half_an_edit_is_not_published_with_it(signing, aispm, tmp_path):
    draft = read_draft(signing)
    write_draft(signing, {**draft, "defaults": {"pii": {"request": "allow", "response": "allow"}}})
    code, out, _ = aispm("revoke", "p", "--agent", "support", "--json")
    assert code == 0
    assert json.loads(out)["version"] == 2
    policy = gateway(signing, tmp_path)
    assert find_agent(policy, "agent-key") is None
    assert policy.defaults == {}
    aispm("publish", "p")
    policy = gateway(signing, tmp_path)
    assert find_agent(policy, "agent-key") is None
    assert policy.defaults.keys() == {"pii"}
    assert aispm("revoke", "p", "--agent", "nobody")[0] == 2


def test_a_stolen_policy_key_is_revoked_by_one_publication(signing, aispm, tmp_path):
    before = gateway(signing, tmp_path)
    stolen = signing.path / "keys" / "policy.key"
    code, out, _ = aispm("revoke", "p", "--signing-key", before.key_id)
    assert (code, out.split(",")[:2]) == (0, ["published version 2", " epoch 2"])
    after = gateway(signing, tmp_path)
    assert (after.epoch, after.version, after.root_version) == (2, 2, 2)
    assert after.key_id != before.key_id
    code, _, err = aispm("publish", "p", "--key", stolen)
    assert code == 5
    assert "signatures are there" in err
    assert gateway(signing, tmp_path).version == 2
    code, _, err = aispm("rotate", "p", "--add-policy-key", stolen.with_suffix(".pub"))
    assert code == 5
    assert "revoked" in err


def test_rollback_brings_content_back_as_a_new_version_but_no_revoked_agent(signing, aispm, tmp_path):
    draft = read_draft(signing)
    write_draft(signing, {**draft, "rules": {"email": {"request": "block", "response": "block"}}})
    aispm("publish", "p")
    aispm("revoke", "p", "--agent", "support")
    code, out, _ = aispm("rollback", "p", "--to", "1")
    assert code == 0
    assert "still revoked: support" in out
    policy = gateway(signing, tmp_path)
    assert (policy.version, policy.rules) == (4, {})
    assert find_agent(policy, "agent-key") is None
    assert read_draft(signing)["agents"][0]["revoked"] is True
    code, _, err = aispm("rollback", "p", "--to", "9")
    assert code == 2
    assert "no version 9" in err


def test_two_of_three_holders_sign_on_their_own_machines(aispm, tmp_path):
    for name in "abcd":
        assert aispm("keygen", f"{name}.key")[0] == 0
    publics = [part for name in "abc" for part in ("--root-key", f"{name}.pub")]
    code, out, err = aispm("init", "p", "--tenant", "nimbus", "--audience", "gw-1", *publics, "--json")
    assert code == 4
    assert json.loads(out)["schema"] == "aispm.policy_pending/1"
    assert "aispm policy sign" in err
    assert aispm("publish", "p")[0] == 5
    for name in "ac":
        assert aispm("sign", "p/pending/root.1.json", "--key", f"{name}.key")[0] == 0
    assert aispm("publish", "p")[0] == 0
    folder = Folder(tmp_path / "p")
    assert gateway(folder, tmp_path).version == 1
    # C leaves, D comes: both the old and the new two of three are needed
    code, _, err = aispm(
        "rotate", "p", "--drop-key", "c.pub", "--add-root-key", "d.pub", "--root-key", "d.key", "--root-key", "a.key"
    )
    assert code == 4
    assert "1 of 2 needed" in err
    assert aispm("rotate", "p")[0] == 2
    assert gateway(folder, tmp_path).root_version == 1
    assert aispm("sign", "p/pending/root.2.json", "--key", "b.key")[0] == 0
    assert aispm("publish", "p")[0] == 0
    assert gateway(folder, tmp_path).root_version == 2
    assert not list((tmp_path / "p" / "pending").iterdir())


def test_a_root_is_renewed_without_a_new_epoch(signing, aispm, tmp_path):
    assert aispm("rotate", "p", "--root-days", "700")[0] == 0
    policy = gateway(signing, tmp_path)
    assert (policy.epoch, policy.root_version) == (1, 2)
    assert aispm("rotate", "p", "--threshold", "2")[0] == 5


def test_verify_says_why_it_would_not_be_taken_over(signing, aispm):
    assert aispm("verify", "p", "--gateway", "gw-2")[0] == 5
    with pytest.raises(VerificationError, match="expired"):
        check(signing.path, installed=signing.published_root(1), gateway_id=None, now=NOW + timedelta(days=900))
    signing.policy.write_bytes(signing.policy.read_bytes() + b" ")
    code, out, err = aispm("verify", "p", "--json")
    assert (code, json.loads(out)) == (5, {"schema": "aispm.policy_check/1", "ok": False, "reason": "signature"})
    assert "is not what key" in err
    signing.published_root(1).unlink()
    assert aispm("verify", "p")[0] == 2


def test_a_policy_file_can_be_signed_alone(signing, aispm, tmp_path):
    lone = tmp_path / "lone.json"
    lone.write_bytes(signing.policy.read_bytes())
    assert aispm("sign", lone, "--key", "p/keys/policy.key")[0] == 0
    assert aispm("verify", lone, "--root", signing.published_root(1))[0] == 0
    assert aispm("sign", lone, "--key", "p/keys/root.key")[0] == 0
    assert aispm("verify", lone, "--root", signing.published_root(1))[0] == 5
    lone.write_text('{"schema": "aispm.posture/1"}')
    assert aispm("sign", lone, "--key", "p/keys/policy.key")[0] == 2


def test_a_bad_custom_pattern_is_named_when_it_is_published_signed_or_verified(signing, aispm, tmp_path):
    pattern = {
        "id": "account_number",
        "expression": r"\bNB-[0-9]{8}\b",
        "action": {"request": "block", "response": "redact"},
        "match": ["NB-12345678"],
        "no_match": ["NB-1234567"],
    }
    draft = json.loads(signing.draft.read_text())
    signing.draft.write_text(json.dumps({**draft, "custom_patterns": [pattern]}))
    assert aispm("publish", "p")[0] == 0
    assert [p.id for p in gateway(signing, tmp_path).custom_patterns] == ["account_number"]
    for change, why in (
        ({"expression": "(NB-[0-9]+)+x"}, "every repeat needs an upper bound"),
        ({"no_match": ["NB-12345678"]}, "is found by the expression"),
        ({"id": "email"}, "the id of a built-in pattern"),
    ):
        wrong = {**pattern, **change}
        signing.draft.write_text(json.dumps({**draft, "custom_patterns": [wrong]}))
        lone = tmp_path / "lone.json"
        lone.write_text(json.dumps({**json.loads(signing.policy.read_text()), "custom_patterns": [wrong]}))
        for command in (("publish", "p"), ("sign", lone, "--key", "p/keys/policy.key")):
            code, _, err = aispm(*command)
            assert code == 5
            assert f"custom_patterns.{wrong['id']}" in err
            assert why in err
    assert gateway(signing, tmp_path).version == 2


def test_keys_that_others_can_read_are_not_used(signing, aispm):
    (signing.path / "keys" / "policy.key").chmod(0o644)
    code, _, err = aispm("publish", "p")
    assert code == 2
    assert "chmod 600" in err
    assert aispm("keygen", signing.path / "keys" / "policy.key")[0] == 2
    assert aispm("keygen", "no/such/../x.key")[0] in (0, 2)


@pytest.mark.parametrize(
    ("draft", "code", "said"),
    [
        ("{", 5, "not plain JSON"),
        ("[]", 5, "not an object"),
        ('{"version": 7}', 2, "does not say `version`"),
        ("{}", 2, "must be there"),
        ('{"audience": ["gw-1"], "hash_key": "x", "agents": []}', 5, "hash_key"),
        ('{"audience": ["gw-1"], "hash_key": "x", "agents": 5}', 2, "lists as lists"),
        ('{"audience": [], "hash_key": "%s", "agents": []}' % ("0" * 64), 5, "not meant for"),
        ('{"audience": ["gw-1"], "hash_key": "%s", "agents": [], "allow_all": 1}' % ("0" * 64), 5, "does not know"),
    ],
)
def test_a_wrong_draft_is_named_and_nothing_is_published(signing, aispm, tmp_path, draft, code, said):
    signing.draft.write_text(draft)
    found, _, err = aispm("publish", "p")
    assert found == code
    assert said in err
    assert gateway(signing, tmp_path).version == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["publish", "nowhere"], 2),
        (["verify", "nowhere"], 2),
        (["rollback", "nowhere", "--to", "1"], 2),
        (["revoke", "p"], 2),
        (["revoke", "p", "--agent", "support", "--signing-key", "x"], 2),
        (["revoke", "p", "--signing-key", "0123456789abcdef"], 2),
        (["rotate", "p", "--add-root-key", "nowhere.pub"], 2),
        (["rotate", "p", "--root-key", "nowhere.key"], 2),
        (["publish", "p", "--days", "0"], 2),
        (["init", "p", "--tenant", "t", "--audience", "g"], 2),
        (["init", "q", "--tenant", "no spaces", "--audience", "g"], 5),
        (["status", "http://127.0.0.1:9"], 4),
        (["status", "not a url"], 4),
        (["serve", "nowhere"], 2),
    ],
)
def test_wrong_usage_ends_with_a_message_and_its_exit_code(signing, aispm, monkeypatch, arguments, code):
    def replaced(program, command):  # what takes this process's place in reality
        raise SystemExit(subprocess.run(command, cwd=Path(__file__).resolve().parents[1], timeout=60).returncode)

    monkeypatch.setattr(os, "execv", replaced)
    found, out, err = aispm(*arguments)
    assert found == code
    assert out == ""
    assert "Traceback" not in err


class Killed(BaseException):
    """The process ends here."""


def republish(folder):
    return publish(folder, key=None, now=datetime.now(UTC))


def replace_policy_key(folder):
    root = folder.trusted().root
    return change_root(folder, Change(revoke=root.policy_keys), root_keys=(), key=None, now=datetime.now(UTC))


@pytest.mark.parametrize("command", [republish, replace_policy_key])
def test_no_interrupted_publication_reaches_a_gateway_in_part(signing, tmp_path, monkeypatch, command):
    """Killed before each of its writes in turn: a gateway that looks then has the old version or the new one, one that
    starts then has the old one at least, and the next publication reaches both."""
    real, finished, kill_at = files.replace_durably, False, 0
    while not finished:
        before = gateway(signing, tmp_path).version
        left = iter(range(kill_at))

        def write(path, raw, left=left):
            if next(left, None) is None:
                raise Killed
            real(path, raw)

        with monkeypatch.context() as patch:
            patch.setattr(files, "replace_durably", write)
            try:
                command(signing)
            except Killed:
                finished = False
            else:
                finished = True
        try:
            assert gateway(signing, tmp_path).version >= before
        except VerificationError:
            memory, now = tmp_path / "memory.json", datetime.now(UTC)
            last_good = load_policy(None, signing.published_root(1), "gw-1", memory, now, lambda p: p)
            assert last_good.version == before
        assert republish(signing).version == gateway(signing, tmp_path).version > before
        kill_at += 1
    assert kill_at > 4


def test_concurrent_publications_get_different_versions(tmp_path):
    folder = Folder(tmp_path / "p")
    init_folder(folder, tenant="nimbus", audience=["gw-1"], now=NOW)
    threads = [threading.Thread(target=publish, args=(folder,), kwargs={"key": None, "now": NOW}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in folder.publications()) == [f"1.{n}.json" for n in range(1, 9)]
    assert check(folder.path, installed=None, gateway_id=None, now=NOW)[0].version == 8


def test_the_server_is_started_and_asked_by_the_commands(signing, aispm, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows", "policy", "serve", str(signing.path), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1])
    try:
        url = json.loads(process.stdout.readline())["url"]
        code, out, err = aispm("status", url)
        assert code == 4
        assert "BEHIND  gw-1" in out
        assert "1 of 1 gateways" in err
        code, out, _ = aispm("status", url, "--json")
        assert json.loads(out)["policy"]["version"] == 1
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()
