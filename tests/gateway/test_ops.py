"""Running it: TLS, several workers, the operators' port, reload, forbidden upstream addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import time
import warnings
from collections import Counter
from pathlib import Path

import httpx
import pytest

from gateway.__main__ import main
from gateway.addresses import check_address, literal_address
from gateway.errors import ConfigError
from gateway.listen import tls_context
from gateway.metrics import Metrics
from gateway.reasons import Refusal
from gateway.resolver import GuardedResolver
from gateway.settings import Limits, Listen, Route, load_settings
from gateway.upstream import Upstream


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def configure(gateway, *pairs):
    path = gateway.folder / "gateway.toml"
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return gateway


def metric(text, name, **labels):
    """The value of one sample."""
    wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
    line = next(line for line in text.splitlines() if line.startswith(f"{name}{{{wanted}}} " if wanted else f"{name} "))
    return float(line.rpartition(" ")[2])


# -- the operators' port ----------------------------------------------------------------------------------------------


def test_the_operators_port_tells_health_readiness_and_counts(gateway_factory, simulator, policy):
    gateway = configure(gateway_factory(), ("[policy]", "[metrics]\nport = 0\n[policy]")).start()
    ops = gateway.ready["metrics"]
    assert gateway.post(gateway.chat("hello")).status_code == 200
    assert gateway.post({"model": "sim-1"}, path="/v1/unknown").status_code == 404
    assert gateway.post(gateway.chat("hello"), headers={"Authorization": "Bearer no"}).status_code == 401
    assert httpx.get(ops + "/healthz").json() == {"status": "ok"}
    assert httpx.get(ops + "/readyz").json() == {"ready": True, "faults": []}
    scraped = httpx.get(ops + "/metrics")
    assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = scraped.text
    requests = "aispm_gateway_requests_total"
    assert metric(text, requests, route="default", wire_format="openai_chat", decision="allow") == 1
    assert metric(text, "aispm_gateway_reasons_total", reason="POLICY.ROUTE") == 1
    assert metric(text, "aispm_gateway_reasons_total", reason="POLICY.AGENT_DENIED") == 1
    assert metric(text, "aispm_gateway_tokens_total", direction="out") == 5
    assert metric(text, "aispm_gateway_policy_version") == policy.version
    assert metric(text, "aispm_gateway_ready") == 1
    for histogram in ("aispm_gateway_request_seconds", "aispm_gateway_filter_seconds"):
        assert metric(text, histogram + "_count") == 3
        buckets = [float(n) for n in re.findall(rf'{histogram}_bucket{{le="[^"]+"}} (\d+)', text)]
        assert buckets == sorted(buckets)
        assert buckets[-1] == 3
    assert httpx.get(ops + "/v1/models").status_code == 404
    assert httpx.post(ops + "/metrics").status_code == 405
    policy.publish()
    gateway.signal(signal.SIGHUP)
    until(lambda: metric(httpx.get(ops + "/metrics").text, "aispm_gateway_policy_version") == policy.version)


def test_every_sample_has_its_type_and_labels_are_escaped():
    metrics = Metrics()
    event = {"event_kind": "exchange", "decision": "block", "reason_code": "POLICY.RATE", "route": 'a"b\\c\nd'}
    metrics.observe(event)
    metrics.observe({"event_kind": "match", "rule_id": "email", "match_count": 3})
    text = metrics.text(policy_version=3, ready=False, segment_no=2, lost_events=1)
    assert text.endswith("\n")
    typed = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    for line in text.splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r'[a-z_]+(\{[a-z_]+="[^"\n]*(\\"[^"\n]*)*"(,[a-z_]+="[^"]*")*\})? [0-9.]+', line), line
            name = line.partition("{")[0].partition(" ")[0]
            assert name in typed or re.sub(r"_(bucket|sum|count)$", "", name) in typed
    assert metric(text, "aispm_gateway_budget_refusals_total", reason="POLICY.RATE") == 1
    assert metric(text, "aispm_gateway_matches_total", rule="email") == 3
    assert '\\"b\\\\c\\nd' in text


# -- several workers --------------------------------------------------------------------------------------------------


def worker_pids(parent):
    return [int(p) for p in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.fixture
def pair(gateway_factory, simulator):
    gateway = gateway_factory()
    configure(gateway, ("port = 0", "port = 0\nworkers = 2"), ("[policy]", "[metrics]\nport = 0\n[policy]"))
    return gateway.start()


def served(gateway):
    """Which worker answered how often."""
    return Counter(
        row["worker"] for row in gateway.rows() if row["event_kind"] == "exchange" and row["http_status"] == 200
    )


def test_two_workers_share_the_port_and_a_dead_one_is_replaced(pair, policy):
    assert len(pair.ready["workers"]) == len(pair.ready["metrics"]) == 2
    assert sorted(worker_pids(pair.process.pid)) == sorted(pair.ready["workers"])
    sent = 0

    def both_served():
        nonlocal sent
        for _ in range(10):
            assert pair.post(pair.chat()).status_code == 200
            sent += 1
        return set(served(pair)) == {0, 1}

    until(both_served)
    victim = pair.ready["workers"][0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(worker_pids(pair.process.pid)) == 2 and victim not in worker_pids(pair.process.pid))

    def replaced():
        rows = [r for r in pair.rows() if r["event_kind"] == "policy" and r["worker"] == 0]
        return len({r["boot_id"] for r in rows}) == 2

    until(replaced)
    for _ in range(10):  # the dead one's connections are reset at most while it is replaced
        assert pair.post(pair.chat()).status_code == 200
        sent += 1
    assert sum(served(pair).values()) == sent
    policy.publish()
    pair.signal(signal.SIGHUP)
    until(lambda: len([r for r in pair.rows() if r["policy_version"] == policy.version]) >= 2)
    assert pair.stop() == 0
    assert not list(pair.spool.glob("*.open"))


def test_workers_end_when_their_parent_is_killed(pair):
    workers = pair.ready["workers"]
    pair.process.kill()
    pair.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert not list(pair.spool.glob("*.open"))


def test_a_fault_of_the_settings_ends_all_workers_with_its_exit_code(gateway_factory, simulator):
    gateway = configure(gateway_factory(), ("port = 0", "port = 0\nworkers = 2"))
    (gateway.folder / "policy.json").write_bytes(b"{}")
    with pytest.raises(AssertionError, match="error: "):
        gateway.start()
    assert gateway.process.wait(60) == 5


# -- TLS --------------------------------------------------------------------------------------------------------------


def test_tls_from_1_2_on(gateway_factory, simulator, certificate):
    for name in ("tls.key", "tls.pem"):
        (gateway_factory().folder / name).write_bytes((certificate / name).read_bytes())
    gateway = configure(gateway_factory(), ("port = 0", 'port = 0\ntls_cert = "tls.pem"\ntls_key = "tls.key"')).start()
    assert gateway.url.startswith("https://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=str(certificate / "tls.pem"))
    response = gateway.post(gateway.chat(), verify=trusted)
    assert response.json()["choices"][0]["message"]["content"] == "Hello."
    old = ssl.create_default_context(cafile=str(certificate / "tls.pem"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings(action="ignore"):  # that it is old is the point
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    port = int(gateway.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="127.0.0.1")
    with pytest.raises(httpx.HTTPError):
        httpx.get(gateway.url.replace("https", "http") + "/healthz")
    gateway.signal(signal.SIGHUP)  # a certificate that is no longer there leaves the old one in force
    (gateway.folder / "tls.pem").unlink()
    gateway.signal(signal.SIGHUP)
    until(lambda: "certificate not taken over" in (gateway.folder / "stderr.txt").read_text())
    assert gateway.post(gateway.chat(), verify=trusted).status_code == 200


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('tls_cert = "tls.pem"', "go together"),
        ('host = "0.0.0.0"', "without `tls_cert` and `tls_key`"),
        ("workers = 65", "at most 64"),
        ("workers = 0", "out of range"),
    ],
)
def test_listening_settings_that_are_refused(gateway_factory, simulator, lines, said):
    gateway = configure(gateway_factory(), ("[listen]", f"[listen]\n{lines}"))
    with pytest.raises(ConfigError, match=said):
        load_settings(gateway.folder / "gateway.toml")


def test_a_key_that_does_not_fit_is_named_before_anything_listens(gateway_factory, simulator, certificate, capsys):
    gateway = configure(gateway_factory(), ("port = 0", 'port = 0\ntls_cert = "tls.pem"\ntls_key = "other.key"'))
    (gateway.folder / "tls.pem").write_bytes((certificate / "tls.pem").read_bytes())
    (gateway.folder / "other.key").write_text("nothing")
    assert main(["--config", str(gateway.folder / "gateway.toml"), "--check"]) == 2
    assert "certificate and key cannot be used" in capsys.readouterr().err


def test_beyond_loopback_with_tls_is_allowed(gateway_factory, simulator, certificate):
    lines = f'host = "0.0.0.0"\ntls_cert = "{certificate}/tls.pem"\ntls_key = "{certificate}/tls.key"'
    gateway = configure(gateway_factory(), ("[listen]", f"[listen]\n{lines}"))
    listen = load_settings(gateway.folder / "gateway.toml").listen
    assert tls_context(listen).minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls_context(Listen()) is None


# -- forbidden upstream addresses -------------------------------------------------------------------------------------

PRIVATE = [
    "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "::1",
    "fd00::1", "fec0::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::",
    "198.18.0.1", "240.0.0.1", "2001:db8::1",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "fe80::1%eth0", "fd00:ec2::254",
    "100.100.100.200", "192.0.0.192", "0.0.0.1", "::", "255.255.255.255", "224.0.0.1", "ff02::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"]


def allowed(text, **how):
    try:
        check_address(literal_address(text), **how)
    except PermissionError:
        return False
    return True


def test_addresses_are_judged_by_where_packets_end():
    for text in PRIVATE:
        assert (allowed(text, allow_private=False), allowed(text, allow_private=True)) == (False, True), text
    for text in NEVER:
        assert (allowed(text, allow_private=False), allowed(text, allow_private=True)) == (False, False), text
    for text in PUBLIC:
        assert allowed(text, allow_private=False), text
    assert literal_address("api.example.com") is None


@pytest.mark.parametrize("address", ["10.1.2.3", "169.254.169.254", "[::ffff:10.0.0.1]", "2852039166"])
def test_an_address_in_the_settings_is_judged_at_the_start(gateway_factory, simulator, address):
    gateway = gateway_factory(upstream=f"https://{address}/v1")
    with pytest.raises(ConfigError, match="base_url"):
        load_settings(gateway.folder / "gateway.toml")


def test_private_addresses_can_be_allowed_by_route(gateway_factory, simulator):
    gateway = gateway_factory(upstream="https://10.1.2.3/v1")
    configure(gateway, ("[routes.default]", "[routes.default]\nallow_private = true"))
    assert load_settings(gateway.folder / "gateway.toml").routes["default"].allow_private


class Names:
    """A resolver that answers as told, a new answer each time."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [
            {"hostname": host, "host": a, "port": port, "family": family, "proto": 0, "flags": 0}
            for a in self.answers.pop(0)
        ]

    async def close(self):
        return


def resolved(resolver):
    return [found["host"] for found in asyncio.run(resolver.resolve("api.example.com", 443))]


def test_a_name_may_only_lead_outside():
    assert resolved(GuardedResolver(allow_private=False, loopback=False, inner=Names(["8.8.8.8", "10.0.0.1"]))) == [
        "8.8.8.8"
    ]
    private = GuardedResolver(allow_private=True, loopback=False, inner=Names(["10.0.0.1", "169.254.169.254"]))
    assert resolved(private) == ["10.0.0.1"]
    rebinding = GuardedResolver(allow_private=False, loopback=False, inner=Names(["8.8.8.8"], ["127.0.0.1"]))
    assert resolved(rebinding) == ["8.8.8.8"]
    with pytest.raises(OSError, match="refused"):
        resolved(rebinding)
    here = GuardedResolver(allow_private=False, loopback=True, inner=Names(["127.0.0.1", "8.8.8.8"]))
    assert resolved(here) == ["127.0.0.1"]


@pytest.mark.parametrize("allow_private", [False, True])
def test_a_name_that_leads_inside_is_not_connected_to(simulator, monkeypatch, allow_private):
    async def inside(self, host, port=0, family=socket.AF_INET):
        return await Names(["127.0.0.1"]).resolve(host, port, family)

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", inside)

    async def ask():
        route = Route(base_url=simulator.url.replace("127.0.0.1", "api.example.com"), allow_private=allow_private)
        upstream = Upstream(route, Limits())
        await upstream.start()
        try:
            async with upstream.request("GET", "/models", None, {"Accept": "application/json"}) as reply:
                return reply.status
        except Refusal as refusal:
            return refusal.code, refusal.detail
        finally:
            await upstream.close()

    assert asyncio.run(ask()) == (200 if allow_private else ("SYSTEM.BACKEND", "connect"))
    assert len(simulator.requests) == allow_private


# -- what the process holds -------------------------------------------------------------------------------------------


def test_the_running_process_maps_nothing_of_the_data_stack(gateway_factory, simulator):
    gateway = gateway_factory().start()
    assert gateway.post(gateway.chat()).status_code == 200
    maps = Path(f"/proc/{gateway.process.pid}/maps").read_text()
    assert "uvloop" in maps
    assert [n for n in ("duckdb", "polars", "pyarrow", "deltalake", "pandas", "sqlalchemy") if n in maps] == []


def test_the_log_key_is_printed_for_the_verifier(gateway_factory, simulator, capsys):
    gateway = configure(gateway_factory(), ("[spool]", '[spool]\nsigning_key = "file:log.key"'))
    config = str(gateway.folder / "gateway.toml")
    assert main(["--config", config, "--log-key"]) == 2
    (gateway.folder / "log.key").write_text("1f" * 32 + "\n")
    capsys.readouterr()
    assert main(["--config", config, "--log-key"]) == 0
    assert re.fullmatch("[0-9a-f]{64}\n", capsys.readouterr().out)


def test_ready_line_is_one_json_object(gateway_factory, simulator):
    gateway = gateway_factory().start()
    assert set(gateway.ready) == {"schema", "pid", "url"}
    assert json.dumps(gateway.ready)
    assert ipaddress.ip_address(gateway.url.split("/")[2].rpartition(":")[0]).is_loopback
