"""From a published folder over a policy server into running gateways: real processes, and servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from gateway.__main__ import main
from gateway.errors import ConfigError, IncompleteError
from gateway.http_server import Answer, HttpServer
from gateway.listen import bind
from gateway.loading import Loader
from gateway.policy import files
from gateway.policy import puller as pulling
from gateway.policy.bundle import hash_agent_key
from gateway.policy.chain import Document
from gateway.policy.files import read_memory
from gateway.policy.puller import PolicyClient, Puller
from gateway.policy.refused import PolicyError
from gateway.policy_server import PolicyServer
from gateway.policy_server import main as server_main
from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def published(tmp_path, policy):
    """The folder that `policy` writes into, which the server serves."""
    return tmp_path


class ServerProcess:
    """`python -m gateway.policy_server` as a child process."""

    def __init__(self, folder, *options):
        self.log = (folder / "server.txt").open("ab")
        command = [sys.executable, "-m", "gateway.policy_server", "--folder", str(folder), "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, cwd=ROOT)
        line = self.process.stdout.readline()
        assert line, (folder / "server.txt").read_text()
        self.url = json.loads(line)["url"]

    def status(self):
        return httpx.get(f"{self.url}/status").json()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0
        self.process.stdout.close()
        self.log.close()


@pytest.fixture
def server(published):
    made = ServerProcess(published)
    yield made
    if made.process.poll() is None:
        made.stop()


def pulled(gateway, url, policy_lines=""):
    """The same gateway, asking a server."""
    config = gateway.folder / "gateway.toml"
    text = config.read_text().replace('file = "policy.json"', f'url = "{url}"\n{policy_lines}')
    config.write_text(text)
    return gateway


def revoked(policy, agent_key):
    return [{"id": "support", "key_hash": hash_agent_key(policy.hash_key, agent_key), "revoked": True}]


def policy_events(gateway):
    return [
        (row["decision"], row["policy_version"], row["reason_detail"])
        for row in gateway.rows()
        if row["event_kind"] == "policy"
    ]


# -- whole processes --------------------------------------------------------------------------------------------------


def test_a_publication_reaches_a_running_gateway_and_its_running_stream(gateway_factory, simulator, policy, server):
    gateway = pulled(gateway_factory(), server.url).start()
    assert gateway.post(gateway.chat()).status_code == 200

    async def reply(request, body):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):  # the gateway hangs up
            while True:
                await response.write(simulator.chunk({"content": "word "}).encode())
                await asyncio.sleep(0.02)
        return response

    simulator.reply = reply
    headers = {"Authorization": f"Bearer {gateway.agent_key}"}
    body = gateway.chat(stream=True)
    with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as stream:
        lines = stream.iter_lines()
        assert "data:" in next(lines)
        policy.publish(agents=revoked(policy, gateway.agent_key))
        rest = "".join(lines)
    assert "POLICY.AGENT_DENIED" in rest
    assert gateway.post(gateway.chat()).status_code == 401
    until(lambda: server.status()["gateways"][0]["applied"] == "1.2")
    gateway.stop()
    assert policy_events(gateway) == [("allow", 1, None), ("allow", 2, None)]
    (cut,) = [r for r in gateway.rows() if r["event_kind"] == "exchange" and r["stream"]]
    assert (cut["decision"], cut["reason_code"], cut["policy_epoch"]) == ("block", "POLICY.AGENT_DENIED", 1)


def test_a_reply_that_comes_after_the_revocation_is_not_handed_over(gateway_factory, simulator, policy):
    gateway = gateway_factory().start()

    def reply(request, body):
        policy.publish(agents=revoked(policy, gateway.agent_key), tools={})
        gateway.signal(signal.SIGHUP)
        until(lambda: httpx.get(gateway.url + "/healthz").json()["policy_version"] == 2)
        return simulator.completion("Hello.")

    simulator.reply = lambda request, body: asyncio.to_thread(reply, request, body)
    answer = gateway.post(gateway.chat())
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "POLICY.AGENT_DENIED")
    gateway.stop()
    (row,) = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    assert (row["decision"], row["http_status"], row["scope"]) == ("block", 401, "response")
    assert row["resp_bytes"] == len(answer.content)


def test_every_worker_follows_one_puller(gateway_factory, simulator, policy, server):
    gateway = pulled(gateway_factory(), server.url)
    config = gateway.folder / "gateway.toml"
    config.write_text(config.read_text().replace("port = 0", "port = 0\nworkers = 2"))
    gateway.start()
    assert len(gateway.ready["workers"]) == 2
    assert gateway.post(gateway.chat()).status_code == 200
    policy.publish(agents=revoked(policy, gateway.agent_key))

    def all_refuse():  # the kernel deals connections out: 20 in a row reach both
        return all(gateway.post(gateway.chat()).status_code == 401 for _ in range(20))

    until(all_refuse)
    gateway.stop()
    taken = [r for r in gateway.rows() if r["event_kind"] == "policy" and r["policy_version"] == 2]
    assert {r["worker"] for r in taken} == {0, 1}


def test_what_is_refused_is_logged_once_and_the_last_good_stays(gateway_factory, simulator, policy, server):
    """A policy for another audience is served and refused; one that was altered is not even served."""
    gateway = pulled(gateway_factory(), server.url).start()
    policy.publish(audience=["other"])
    until(lambda: "not meant for" in (gateway.folder / "stderr.txt").read_text())
    (gateway.folder / "policy.json").write_bytes((gateway.folder / "policy.json").read_bytes() + b" ")
    until(lambda: "not served" in (gateway.folder / "server.txt").read_text())
    assert gateway.post(gateway.chat()).status_code == 200
    policy.publish()
    until(lambda: httpx.get(gateway.url + "/healthz").json()["policy_version"] == 3)
    gateway.stop()
    assert policy_events(gateway) == [("allow", 1, None), ("block", 1, "audience"), ("allow", 3, None)]


def test_a_restart_without_a_server_uses_what_was_accepted_last(gateway_factory, simulator, policy, server):
    gateway = pulled(gateway_factory(), server.url).start()
    gateway.stop()
    server.stop()
    gateway.start()
    assert gateway.post(gateway.chat()).status_code == 200


def test_beyond_loopback_it_takes_a_certificate_and_a_token(
    gateway_factory, simulator, policy, published, certificate, capsys
):
    (published / "token").write_text("a-token-of-the-fleet\n")
    options = ("--tls-cert", str(certificate / "tls.pem"), "--tls-key", str(certificate / "tls.key"))
    server = ServerProcess(published, *options, "--token", f"file:{published / 'token'}")
    try:
        assert server.url.startswith("https://")
        lines = f'ca = "{certificate / "tls.pem"}"\ncredential = "file:token"'
        gateway = pulled(gateway_factory(), server.url, lines)
        config = gateway.folder / "gateway.toml"
        assert main(["--check", "--config", str(config)]) == 0
        (published / "token").write_text("another\n")
        assert main(["--check", "--config", str(config)]) == 4
        assert "answers 401" in capsys.readouterr().err
        config.write_text(config.read_text().replace("ca = ", "# ca = "))
        assert main(["--check", "--config", str(config)]) == 4
        assert "cannot be reached" in capsys.readouterr().err
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('file = "policy.json"', "", "takes one of `file` and `url`"),
        ('file = "policy.json"', 'file = "policy.json"\nurl = "https://p.example"', "takes one of"),
        ('file = "policy.json"', 'url = "http://p.example"', "must be https"),
        ('file = "policy.json"', 'url = "https://user@p.example"', "absolute URL"),
        ('file = "policy.json"', 'url = "p.example/policies"', "absolute URL"),
        ('file = "policy.json"', 'file = "policy.json"\non_stale = "allow"', "is one of keep, deny"),
        ('file = "policy.json"', 'file = "policy.json"\nmax_stale_s = 0', "out of range"),
    ],
)
def test_settings_that_would_not_be_safe(gateway_factory, policy, old, new, said):
    config = gateway_factory(upstream="http://127.0.0.1:9/v1").folder / "gateway.toml"
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=said):
        load_settings(config)


def test_a_first_start_waits_for_the_server_and_check_does_not(gateway_factory, simulator, policy, published, capsys):
    gateway = pulled(gateway_factory(), "http://127.0.0.1:9")
    assert main(["--config", str(gateway.folder / "gateway.toml"), "--check"]) == 4
    assert "cannot be reached" in capsys.readouterr().err
    command = [sys.executable, "-m", "gateway", "--config", str(gateway.folder / "gateway.toml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert b"no policy yet" in process.stderr.readline()
        process.kill()
        assert process.stdout.read() == b""


def test_a_first_policy_that_is_refused_ends_the_start(gateway_factory, simulator, policy, server, capsys):
    policy.publish(audience=["other"])
    until(lambda: server.status()["policy"]["version"] == 2)
    gateway = pulled(gateway_factory(), server.url)
    assert main(["--config", str(gateway.folder / "gateway.toml")]) == 5
    assert "not meant for" in capsys.readouterr().err


def test_stale_policies_are_kept_or_denied_as_the_settings_say(gateway_factory, simulator, policy, server):
    lines = 'on_stale = "deny"\nmax_stale_s = 6'
    gateway = pulled(gateway_factory(), server.url, lines).start()
    until(lambda: gateway.post(gateway.chat()).status_code == 200)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        until(lambda: gateway.post(gateway.chat()).status_code == 503)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    until(lambda: gateway.post(gateway.chat()).status_code == 200)
    gateway.stop()
    refused = [r for r in gateway.rows() if r["event_kind"] == "exchange" and r["http_status"] == 503]
    assert {(r["reason_code"], r["reason_detail"]) for r in refused} == {("POLICY.SIGNATURE", "stale")}


@pytest.mark.parametrize(("on_stale", "status"), [("keep", 200), ("deny", 503)])
def test_a_bad_file_leaves_the_last_good_in_force_or_nothing(gateway_factory, simulator, policy, on_stale, status):
    gateway = gateway_factory()
    config = gateway.folder / "gateway.toml"
    config.write_text(config.read_text().replace("[spool]", f'on_stale = "{on_stale}"\n[spool]'))
    gateway.start()
    good = (gateway.folder / "policy.json").read_bytes()
    (gateway.folder / "policy.json").write_bytes(good + b" ")
    gateway.rows()  # asks for a reload
    assert gateway.post(gateway.chat()).status_code == status
    if on_stale == "keep":  # a worker that is restarted meanwhile comes up too
        gateway.stop()
        gateway.start()
        assert gateway.post(gateway.chat()).status_code == 200
    (gateway.folder / "policy.json").write_bytes(good)
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.post(gateway.chat()).status_code == 200)
    gateway.stop()
    assert ("block", 1, "signature") in policy_events(gateway)


def test_a_policy_that_cannot_be_remembered_is_not_taken_over(gateway_factory, simulator, policy):
    gateway = gateway_factory().start()
    memory = gateway.spool / "gw-test.policy-memory.json.lock"
    memory.unlink()
    memory.mkdir()  # a disk that refuses, also for root
    policy.publish(tools={})
    gateway.signal(signal.SIGHUP)
    until(lambda: "cannot remember" in (gateway.folder / "stderr.txt").read_text())
    assert httpx.get(gateway.url + "/healthz").json() == {"status": "ok", "policy_version": 1}
    memory.rmdir()
    gateway.signal(signal.SIGHUP)
    until(lambda: httpx.get(gateway.url + "/healthz").json()["policy_version"] == 2)


def test_a_file_that_went_missing_is_named_to_the_client_where_stale_policies_are_denied(gateway_factory, simulator):
    gateway = gateway_factory()
    config = gateway.folder / "gateway.toml"
    config.write_text(config.read_text().replace("[spool]", 'on_stale = "deny"\n[spool]'))
    gateway.start()
    (gateway.folder / "policy.json").unlink()
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.post(gateway.chat()).status_code == 503)
    assert httpx.get(gateway.url + "/healthz").json()["status"] == "policy missing"
    gateway.stop()
    assert policy_events(gateway) == [("allow", 1, None), ("block", 1, "missing")]


# -- the server -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(handle):
    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def offered(handle):
    """By the server's own HTTP, `handle` being its or something in front of it."""
    http = HttpServer(handle)
    try:
        yield await http.start(bind("127.0.0.1", 0, shared=False))
    finally:
        await http.close(0.1)


def test_polls_are_held_until_something_is_published(policy, published):
    async def steps():
        server = PolicyServer(published, None)
        await server.look()
        async with offered(server.handle) as url:
            client = PolicyClient(url)
            first = await client.policy(None, 25, {})
            assert await client.policy(first.etag, 0, {}) is None
            held = [asyncio.create_task(client.policy(first.etag, 25, {})) for _ in range(5)]
            await asyncio.sleep(0.1)
            assert not any(task.done() for task in held)
            policy.publish()
            await server.look()
            for answer in await asyncio.gather(*held):
                assert json.loads(answer.document.raw)["version"] == 2
            assert await client.root(1) == Document(
                (published / "root.1.json").read_bytes(), (published / "root.1.json.sig").read_bytes()
            )
            assert await client.root(2) is None
            await client.close()

    asyncio.run(steps())


def test_nothing_is_served_that_does_not_verify_or_goes_back(policy, published):
    async def steps():
        server = PolicyServer(published, None)
        async with offered(server.handle) as url, httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/policy")).status_code == 503
            assert (await client.get("/healthz")).status_code == 503
            policy.publish()
            await server.look()
            good = await client.get("/policy")
            for name in ("policy.json", "policy.json.sig", "root.1.json"):
                kept = (published / name).read_bytes()
                (published / name).write_bytes(kept + b"\n")
                await server.look()
                assert (await client.get("/policy")).content == good.content
                (published / name).write_bytes(kept)
            policy.version -= 2
            policy.publish()
            await server.look()
            assert (await client.get("/policy")).content == good.content
            assert [(await client.get(path)).status_code for path in ("/root/9", "/root/01", "/", "/policy/")] == [
                404
            ] * 4
            assert (await client.post("/policy")).status_code == 405

    asyncio.run(steps())


def test_reports_are_kept_of_known_gateways_only(policy, published):
    async def steps():
        server = PolicyServer(published, "token")
        await server.look()
        async with offered(server.handle) as url:
            for token in (None, "tokem"):
                with pytest.raises(IncompleteError, match="401"):
                    await PolicyClient(url, token).policy(None, 0, {})
            client = PolicyClient(url, "token")
            assert server.status()["gateways"] == [
                {"gateway_id": "gw-test", "applied": None, "current": False, "refused": None, "seen_s": None}
            ]
            for beat in (
                {"gateway": "stranger", "applied": "1.1"},
                {"gateway": "gw-test", "applied": "<script>"},
                {"gateway": "gw-test", "applied": "1.1", "refused": "anything"},
            ):
                await client.policy(None, 0, beat)
            (row,) = server.status()["gateways"]
            assert (row["applied"], row["current"], row["refused"]) == ("1.1", True, None)
            await client.policy(None, 0, {"gateway": "gw-test", "applied": "1.0", "refused": "audience"})
            (row,) = server.status()["gateways"]
            assert (row["current"], row["refused"]) == (False, "audience")

    asyncio.run(steps())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--folder", "nowhere"], "no such folder"),
        (["--folder", ".", "--host", "192.0.2.1"], "beyond loopback"),
        (["--folder", ".", "--token", "secret"], "never as the value"),
        (["--folder", ".", "--tls-cert", "no.pem", "--tls-key", "no.key"], "cannot be used"),
    ],
)
def test_a_server_that_cannot_serve_says_why(options, said, capsys):
    assert server_main(options) == 2
    assert said in capsys.readouterr().err


# -- answers that no good server gives --------------------------------------------------------------------------------


async def endless(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(1000):
        await response.write(b"x" * 65536)
    return response


async def dripping(request):
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.05)


async def silent(request):
    await asyncio.sleep(60)
    return web.Response()


def answering(**response):
    async def handle(request):
        return web.Response(**response)

    return handle


async def broken_off(request):
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"ed25519")
    request.transport.close()
    return response


BAD_ANSWERS = [
    ("endless", endless, "more than"),
    ("a byte now and then", dripping, "too slow"),
    ("silent", silent, "too slow"),
    ("an error", answering(status=500), "answers 500"),
    ("a redirect", answering(status=302, headers={"Location": "http://169.254.169.254/"}), "answers 302"),
    ("nothing new, though all was asked for", answering(status=304), "nothing changed"),
    ("compressed", answering(body=b"x", headers={"Content-Encoding": "gzip"}), "compressed"),
    ("a web page", answering(text="<html>"), "does not begin with signature lines"),
    ("empty", answering(body=b""), "does not begin with signature lines"),
    ("broken off", broken_off, "cannot be reached"),
]


@pytest.mark.parametrize(("handle", "said"), [case[1:] for case in BAD_ANSWERS], ids=[case[0] for case in BAD_ANSWERS])
def test_a_useless_answer_is_given_up_in_bounded_time_and_space(handle, said, monkeypatch):
    monkeypatch.setattr(pulling, "ANSWER_SECONDS", 0.5)

    async def steps():
        async with serving(handle) as url:
            client = PolicyClient(url)
            try:
                with pytest.raises((IncompleteError, PolicyError), match=said):
                    await client.policy(None, 0, {})
            finally:
                await client.close()

    asyncio.run(steps())


def test_an_authority_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="authority"):
        PolicyClient("https://127.0.0.1:1", ca=tmp_path / "no.pem")


@pytest.fixture
def puller(gateway_factory, policy, published):
    """`make(url)`: a puller of a gateway that is not running, with what it told."""
    settings = load_settings(
        pulled(gateway_factory(upstream="http://127.0.0.1:9/v1"), "http://127.0.0.1:9").folder / "gateway.toml"
    )
    settings.spool.folder.mkdir()
    loader = Loader(settings, lambda: datetime.now(UTC))

    def make(url):
        told = []

        async def taken():
            told.append("taken")

        made = Puller(
            PolicyClient(url),
            "gw-test",
            1,
            settings.policy_memory,
            loader.remember,
            taken,
            lambda error: told.append(getattr(error, "detail", str(error))),
            lambda: "1.1",
            max_stale_s=0.0,
        )
        return made, told

    return make


async def running(puller, condition):
    task = asyncio.create_task(puller.run())
    try:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await puller.client.close()


def test_a_static_file_server_is_asked_now_and_then(puller, policy, published, monkeypatch):
    """No holding, no ETag: polls are spread instead of hammering, and changes still arrive."""
    monkeypatch.setattr(pulling, "STATIC_PAUSE", 0.1)
    asked = []

    async def static(request):
        asked.append(request.path)
        name = "policy.json" if request.path == "/policy" else f"root.{request.path[6:]}.json"
        if not (published / name).exists():
            return web.Response(status=404)
        return web.Response(
            body=Document((published / name).read_bytes(), (published / f"{name}.sig").read_bytes()).framed()
        )

    async def steps():
        async with serving(static) as url:
            made, told = puller(url)

            def twice():
                if told.count("taken") == 1 and policy.version == 1:
                    policy.publish()
                return told.count("taken") == 2

            await running(made, twice)
            return told

    assert asyncio.run(steps()) == ["taken", "taken"]
    assert len(asked) < 100


def test_a_server_that_comes_back_is_heard_again_and_its_absence_told_once(puller, published, monkeypatch):
    monkeypatch.setattr(pulling, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(pulling, "LONGEST_PAUSE", 0.02)
    server = PolicyServer(published, None)
    failures = iter(range(20))

    async def flaky(request):
        if next(failures, None) is not None:
            return Answer(503, {})
        return await server.handle(request)

    async def steps():
        await server.look()
        async with offered(flaky) as url:
            made, told = puller(url)
            await running(made, lambda: "taken" in told)
            return told

    assert asyncio.run(steps()) == ["stale", "taken"]


def test_a_root_without_its_policy_is_kept_and_the_policy_is_asked_for_again(puller, policy, published):
    """The first answer is older than the new root; the puller asks for the policy that goes with it."""
    server = PolicyServer(published, None)

    async def steps():
        await server.look()
        old = (await PolicyClient_of(server)).framed()
        policy.rotate()
        policy.publish()
        await server.look()
        answers = iter([old])

        async def late(request):
            if request.raw_path.startswith("/policy") and (body := next(answers, None)) is not None:
                return Answer(200, {}, body)
            return await server.handle(request)

        async with offered(late) as url:
            made, _ = puller(url)
            assert await made.once(0)
            await made.client.close()
            return read_memory(made.memory)

    async def PolicyClient_of(server):  # noqa: N802
        async with offered(server.handle) as url:
            client = PolicyClient(url)
            answer = await client.policy(None, 0, {})
            await client.close()
            return answer.document

    memory = asyncio.run(steps())
    assert (memory.root_version, memory.epoch, memory.version) == (2, 2, 2)


def test_a_key_that_a_root_revokes_is_out_of_force_though_the_new_policy_is_withheld(
    gateway_factory, simulator, policy, published
):
    """Whoever controls the way to the server hands out the new root, but the policy that the revoked key signed."""

    async def steps():
        server = PolicyServer(published, None)
        await server.look()
        withheld = asyncio.Event()

        async def between(request):
            if request.raw_path.startswith("/policy") and withheld.is_set():
                return Answer(200, {}, old)
            return await server.handle(request)

        async with offered(between) as url:
            client = PolicyClient(url)
            old = (await client.policy(None, 0, {})).document.framed()
            await client.close()
            gateway = pulled(gateway_factory(), url)
            await asyncio.to_thread(gateway.start)
            assert (await asyncio.to_thread(gateway.post, gateway.chat())).status_code == 200
            withheld.set()
            policy.rotate()
            policy.publish()
            await server.look()
            await asyncio.to_thread(until, lambda: gateway.post(gateway.chat()).status_code == 503)
            withheld.clear()
            await asyncio.to_thread(until, lambda: gateway.post(gateway.chat()).status_code == 200)
            await asyncio.to_thread(gateway.stop)
            return policy_events(gateway)

    events = asyncio.run(steps())
    assert events[0] == ("allow", 1, None)
    assert ("block", 1, "signature") in events
    assert events[-1] == ("allow", 2, None)


def test_a_disk_that_refuses_does_not_end_the_polling(puller, published, monkeypatch):
    monkeypatch.setattr(pulling, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(pulling, "LONGEST_PAUSE", 0.02)
    server = PolicyServer(published, None)
    left = iter(range(3))
    write = files.write_memory

    def full(*arguments):
        if next(left, None) is not None:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(files, "write_memory", full)

    async def steps():
        await server.look()
        async with offered(server.handle) as url:
            made, told = puller(url)
            await running(made, lambda: "taken" in told)
            return made

    assert read_memory(asyncio.run(steps()).memory).version == 1


def test_the_memory_is_a_source_too(puller, published):
    server = PolicyServer(published, None)

    async def steps():
        await server.look()
        async with offered(server.handle) as url:
            made, _ = puller(url)
            with pytest.raises(ConfigError, match="no policy was accepted"):
                made.take(None)
            assert await made.once(0)
            assert not await made.once(0)
            made.take(None)
            await made.client.close()

    asyncio.run(steps())
