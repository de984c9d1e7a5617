"""Streamed text is what the whole text would have been, however it was cut, and nothing of a secret leaks early."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine import Engine
from gateway.fields import RESPONSE, Fields
from gateway.filter import Inspection, RuleSet
from gateway.pattern_files import load_patterns
from gateway.policy.bundle import (
    CATEGORIES,
    compose_bundle,
    hash_agent_key,
    new_hash_key,
    new_keypair,
    sign_bundle,
    verify_bundle,
)
from gateway.reasons import Refusal
from gateway.stream import MAX_EVENT, Channel, HoldBack, SseParser
from gateway.wire.held import Held, Seam
from gateway.wire.openai_chat import OpenAIChat
from gateway.wire.openai_chat_stream import MAX_CALLS, SSE_DONE, ChatStream

sys.path.insert(0, str(Path(__file__).parents[1] / "bypass"))

from disguises import DISGUISES

ALL = load_patterns()


def rule_set(action="redact", tools=("get_balance",), only=None):
    """All patterns with one action, or one pattern alone, so that no other's hold-back covers for it."""
    keys, hash_key, now = new_keypair(), new_hash_key(), datetime(2026, 1, 1, tzinfo=UTC)
    raw = compose_bundle(
        tenant="t",
        audience=["g"],
        version=1,
        issued=now,
        expires=now + timedelta(days=1),
        hash_key=hash_key,
        agents=[{"id": "a", "key_hash": hash_agent_key(hash_key, "k")}],
        tools={"a": list(tools)},
        defaults={c: dict.fromkeys(("request", "response"), "allow" if only else action) for c in CATEGORIES},
        rules={only: {"request": action, "response": action}} if only else {},
    )
    return RuleSet.build(verify_bundle(raw, sign_bundle(raw, keys.private), [keys.public]), ALL)


REDACT = rule_set()


def streamed(pieces, rules=REDACT):
    """(what came out after each piece, the inspection)."""
    inspection = Inspection(rules, "a")
    engine = rules.engines[RESPONSE]
    channel = Channel(engine, HoldBack(engine.patterns), inspection, "assistant")
    out = [channel.feed(p) for p in pieces]
    return [*out, channel.finish()], inspection


def shown(inspection):
    """What the events say of each match, streamed or not."""
    return sorted((tuple(row.items()) for row in inspection.rows(lambda _, **row: row)), key=repr)


def whole(text, rules=REDACT):
    inspection = Inspection(rules, "a")
    return inspection.tree(text, RESPONSE, "assistant"), inspection


EXAMPLES = [(p, text) for p in ALL for text in p.match]
CASES = [
    pytest.param(p, text, marks=[pytest.mark.full] if n else [], id=f"{p.id}-{n}")
    for p in ALL
    for n, text in enumerate(p.match)
]
"""The first example of each pattern in `make test`, all of them in `make test-full`."""


@pytest.mark.parametrize(("pattern", "text"), CASES)
def test_a_secret_split_at_every_offset_comes_out_as_if_it_were_whole(pattern, text):
    for rules, around in ((REDACT, f"Sure: {text}\nBye"), (rule_set(only=pattern.id), text)):
        clean, expected = whole(around, rules)
        secret = Engine([pattern]).scan(around)[0]
        for cut in range(len(around) + 1):
            out, inspection = streamed([around[:cut], around[cut:]], rules)
            assert "".join(out) == clean
            assert shown(inspection) == shown(expected)
            if pattern.redactable:
                assert around[secret.start : secret.end] not in "".join(out)


def test_a_keyword_far_back_among_invisible_characters_counts():
    """Spelled out with three signs between its letters it lies four times as far from the value it belongs to."""
    text = next(p for p in ALL if p.id == "twilio_key").match[2]
    spelled = "\u034f-\u034f".join(text)
    clean, expected = whole(spelled)
    out, inspection = streamed(list(spelled))
    assert "".join(out) == clean
    assert shown(inspection) == shown(expected) != []


@pytest.mark.parametrize("foreign", ["é", "“", "ﬁ", "漢", "\u200b"])
@pytest.mark.parametrize("pattern", ALL, ids=lambda p: p.id)
def test_a_foreign_character_before_or_behind_a_secret_lets_nothing_out(pattern, foreign):
    """It may read as a letter, so that one word begins before it, and another behind it."""
    for around in (f"{foreign}{pattern.match[0]} end", f"{pattern.match[0]}{foreign} end"):
        clean, expected = whole(around)
        out, inspection = streamed(list(around))
        assert "".join(out) == clean
        assert shown(inspection) == shown(expected)


@pytest.mark.parametrize(
    ("only", "text", "hits"),
    [
        # The longest hit of its kind, inside a longer run of the characters that are held.
        ("payment_card", "1 2 3 4 5 6 7 8 9 0 1 2 3 " + "4000 0000 0000 " + "0000 006 7 8 9", 1),
        ("phone_intl", "(1) (2) (3) (4) (5) (6) " + "+123 (456) 789-012-34" + " (5) (6)", 1),
        ("iban", "PLEASE PAY TO THIS ACCOUNT NOW " + "MT84 MALT 0110 0001 2345 " + "MTLC AST0 01S OR ELSE I LEAVE", 1),
        ("iban", "A B C D E F G H 1 2 3 " + "LC55 HEMM 0001 0001 0012 " + "0012 0002 3015 AND SO ON AND ON", 1),
        # What stands directly before a candidate decides, though it was released long before.
        ("payment_card", "A" + "4111 1111 1111 1111", 0),
        ("ssn_us", "x-" + "536-22-8726", 0),
        ("iban", "x" + "DE89 3704 0044 0532 0130 00", 0),
        # A keyword that is far from its value, or never gets one.
        (
            "generic_secret_kv",
            "The password for the secret garden is not a token. password   =>   " + "k9Lm2Qp7Zs4W",
            1,
        ),
    ],
)
def test_long_runs_and_near_misses_letter_by_letter(only, text, hits):
    for rules in (rule_set(only=only), REDACT):
        clean, expected = whole(text, rules)
        assert sum(n for m, n in expected.matches.items() if m.pattern.id == only) == hits
        out, inspection = streamed(list(text), rules)
        assert "".join(out) == clean
        assert inspection.matches == expected.matches


@pytest.mark.parametrize(("pattern", "text"), CASES)
def test_a_secret_sent_letter_by_letter_never_shows_its_beginning(pattern, text):
    before = "Here you are: "
    secret = Engine([pattern]).scan(before + text)[0]
    out, inspection = streamed([before, *text, "\n", "done"])
    so_far = ""
    for piece in out:
        so_far += piece
        if inspection.decision != "block":
            assert not so_far.startswith((before + text)[: secret.start + 1])
    assert "".join(out) == whole(before + text + "\ndone")[0]


@pytest.mark.parametrize(("pattern", "text"), CASES)
def test_a_block_is_known_before_any_of_the_secret_is_released(pattern, text):
    rules = rule_set("block")
    inspection = Inspection(rules, "a")
    engine = rules.engines[RESPONSE]
    channel = Channel(engine, HoldBack(engine.patterns), inspection, "assistant")
    secret = engine.scan(text)[0]
    released = ""
    for letter in [*text, None]:
        piece = channel.finish() if letter is None else channel.feed(letter)
        if inspection.decision == "block":
            break
        released += piece
    assert inspection.decision == "block"
    assert text.startswith(released)
    assert len(released) <= secret.start


@pytest.mark.parametrize("sign", ["\0", "\x01", "\x7f"])
def test_a_control_character_in_a_key_hides_it_from_nobody(sign):
    key = "AKIA" + "QYLPMN5HHHFPZAM2"
    text = f"The key is {key[:7]}{sign}{key[7:]} and done."
    clean, expected = whole(text)
    assert "[REDACTED" in clean
    for pieces in ([text], list(text), [text[:20], text[20:]]):
        out, inspection = streamed(pieces)
        assert "".join(out) == clean
        assert shown(inspection) == shown(expected)


@pytest.mark.parametrize("sign", ["", "\0", "\x01"])
def test_a_control_character_where_two_texts_meet_hides_nothing(sign):
    inspection = Inspection(REDACT, "a")
    held, seam = Held(inspection), Seam()
    for text in (f"The key is AKIAQYL{sign}", "PMN5HHHFPZAM2 and done."):
        channel = held.channel(seam)
        channel.feed(text)
        channel.finish()
    assert inspection.decision == "block"


WORDS = st.one_of(
    st.sampled_from([text for _, text in EXAMPLES]),
    st.sampled_from([text for p in ALL for text in p.no_match]),
    st.sampled_from(
        ["password", "secret: ", "sk-", "the ", "-----BEGIN ", "4111", " ", "\n", "@", "eyJ", "ünï ", "。"]
    ),
    st.text(max_size=12),
)


@settings(max_examples=150, deadline=None)
@given(words=st.lists(WORDS, max_size=6), data=st.data())
def test_any_text_in_any_pieces_equals_the_whole(words, data):
    text = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    out, inspection = streamed(pieces)
    clean, expected = whole(text)
    assert "".join(out) == clean
    assert shown(inspection) == shown(expected)


@pytest.mark.parametrize(
    "text",
    [
        "sk-ant-api03-short" + "AIzatooshort0\x1fxy0000",
        "AKIA" + "\x01QYLPMN5HHH\x02\x03FPZAM2",
        "\x01".join("AKIA" + "QYLPMN5HHHFPZAM2"),
        "é " + "\x1f".join("AKIA" + "QYLPMN5HHHFPZAM2"),
    ],
)
def test_control_characters_do_not_end_what_is_held_back(text):
    clean, expected = whole(text)
    assert "REDACTED" in clean
    for cut in range(len(text)):
        out, inspection = streamed([text[:cut], text[cut:]])
        assert "".join(out) == clean, cut
        assert shown(inspection) == shown(expected)
    assert "".join(streamed(list(text))[0]) == clean


def test_a_sealed_text_passes_whole_or_not_at_all():
    """Signed reasoning would be refused by the provider once it is rewritten."""
    for text, action in (("no secret in here", "allow"), ("it is 4111 1111 " + "1111 1111 .", "block")):
        inspection = Inspection(REDACT, "a")
        engine = REDACT.engines[RESPONSE]
        channel = Channel(engine, HoldBack(engine.patterns), inspection, "assistant", sealed=True)
        assert "".join([*map(channel.feed, text), channel.finish()]) == text
        assert inspection.decision == action


def test_a_long_run_without_spaces_flows_with_a_bounded_hold():
    engine = REDACT.engines[RESPONSE]
    out, _ = streamed(["QUJD" * 64] * 100)
    assert "".join(out) == "QUJD" * 6400
    assert len(out[-1]) <= max(p.width for p in engine.patterns) + 2


def test_plain_prose_is_hardly_delayed():
    text = "Your balance is shown on the first page of the app, together with the last five bookings. "
    out, _ = streamed(list(text))
    released = 0
    for n, piece in enumerate(out[:-1]):
        released += len(piece)
        assert n + 1 - released <= len("first page of")  # two words that might begin a seed phrase


UNDETECTABLE = 24
"""Characters of a disguised value that may be out before it can be told: three of its letters in pieces, at most."""


def leaks(text, before, dressed, rules, pieces):
    """The longest beginning of `dressed` that came out at any time, whatever became of the stream."""
    inspection = Inspection(rules, "a")
    engine = rules.engines[RESPONSE]
    channel = Channel(engine, HoldBack(engine.patterns), inspection, "assistant")
    out = ""
    try:
        for piece in (*pieces, None):
            released = channel.finish() if piece is None else channel.feed(piece)
            inspection.verdict(RESPONSE)  # as every stream asks for it before it sends what was released
            out += released
    except Refusal:
        pass
    assert inspection.matches or out == ""
    shown = out.removeprefix(before)
    return next((n for n in range(len(dressed)) if n >= len(shown) or shown[n] != dressed[n]), len(dressed))


DRESSED = [
    (name, secret)
    for name in DISGUISES
    for secret in ("AKIA" + "QYLPMN5HHHFPZAM2", "ghp_" + "k3Jd8sLq0PzXw7VbNm2RtYc5Hf1Ga94eUoKi")
    if name not in ("leet", "leet_zero_width", "foreign_digits", "no_break_groups", "ligatures")
]


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        pytest.param(*d, marks=[pytest.mark.full] if n % 2 else [], id=f"{d[0]}-{d[1][:4]}")
        for n, d in enumerate(DRESSED)
    ],
)
def test_nothing_of_a_disguised_secret_leaks_however_it_is_cut(name, secret):
    dressed, before = DISGUISES[name](secret), "Sure, here it is: "
    text = f"{before}{dressed} as you asked\n"
    assert leaks(text, before, dressed, REDACT, list(text)) <= UNDETECTABLE
    for cut in range(0, len(text), max(1, len(text) // 60)):
        assert leaks(text, before, dressed, REDACT, [text[:cut], text[cut:]]) <= UNDETECTABLE


@pytest.mark.full
@pytest.mark.parametrize("pattern", ALL, ids=lambda p: p.id)
@pytest.mark.parametrize(
    "name", ["zero_width_space", "fullwidth", "base64", "entities", "percent", "hex", "escapes", "tags"]
)
def test_nothing_of_any_disguised_secret_leaks_at_any_offset(pattern, name):
    for secret in (t for t in pattern.match if t.isascii()):
        dressed, before = DISGUISES[name](secret), "Sure, here it is: "
        text = f"{before}{dressed} as you asked\n"
        if not any(h.pattern is pattern for h in REDACT.engines[RESPONSE].scan(text)):
            continue
        in_front = Engine([pattern]).scan(secret)[0].start / len(secret)
        for cut in range(len(text)):
            # What is in front of the secret, such as its keyword, may come out.
            leaked = leaks(text, before, dressed, REDACT, [text[:cut], text[cut:]])
            assert leaked <= max(UNDETECTABLE, len(dressed) // 2, len(dressed) * in_front + 1)


def test_invisible_characters_without_end_are_not_held_for_ever():
    with pytest.raises(Refusal, match=r"WIRE\.UNSCANNABLE"):
        streamed(["key: A"] + ["\u200b" * 1000] * 20)


def test_text_in_other_scripts_is_hardly_delayed():
    for text in (
        "Привет, ваш баланс показан на первой странице. ",
        "您的余额显示在第一页。",
        "Größe – “schön” … été 👍 ",
    ):
        out, _ = streamed(list(text))
        for n in range(len(text)):
            assert n + 1 - len("".join(out[: n + 1])) <= 12, text


EVENTS = b': hi\r\ndata: {"a":1}\r\n\r\nevent: x\ndata:two\ndata: lines \xc3\xbc\n\nid: 1\rdata: cr\r\r\ndata: end\n\n'


def test_events_are_read_however_the_bytes_arrive():
    expected = ['{"a":1}', "two\nlines ü", "cr", "end"]
    for a in range(len(EVENTS)):
        for b in range(a, len(EVENTS), 7):
            parser = SseParser()
            got = parser.feed(EVENTS[:a]) + parser.feed(EVENTS[a:b]) + parser.feed(EVENTS[b:])
            assert got == expected, (a, b)


@pytest.mark.parametrize("endless", [b"x" * 100_000, b"data: " + b"x" * 100_000 + b"\n"])
def test_an_event_without_end_is_refused(endless):
    parser = SseParser()
    for _ in range(MAX_EVENT // 100_000):
        assert parser.feed(endless) == []
    with pytest.raises(Refusal, match=r"WIRE\.LIMIT"):
        parser.feed(endless)


def test_bytes_that_are_not_text_are_refused():
    with pytest.raises(Refusal, match=r"WIRE\.MALFORMED"):
        SseParser().feed(b"data: \xff\n\n")


def piece(delta=None, finish=None, index=0, **more):
    return json.dumps(
        {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **more}
    )


def feed(stream, data):
    """One event of the upstream."""
    return list(stream.feed(f"data: {data}\n\n".encode()))


def run_chat(pieces, rules=REDACT):
    inspection = Inspection(rules, "a")
    stream = ChatStream(inspection)
    sent = b"".join([e for p in pieces for e in feed(stream, p)] + [stream.end()])
    assert sent.endswith(SSE_DONE)
    events = sent.removesuffix(SSE_DONE).split(b"\n\n")[:-1]
    return [json.loads(e.removeprefix(b"data: ")) for e in events], inspection, stream


def call_part(text, n=0, **function):
    return {"tool_calls": [{"index": n, "function": {"arguments": text, **function}}]}


def test_tool_calls_are_sent_whole_after_their_check():
    arguments = json.dumps({"iban": "GB82 WEST 1234 5698 7654 32", "n": 1})
    for cut in range(len(arguments) + 1):
        events, inspection, _ = run_chat(
            [
                piece(
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {"index": 0, "id": "c1", "type": "function", "function": {"name": "get_", "arguments": ""}}
                        ],
                    }
                ),
                piece(call_part(arguments[:cut], name="balance")),
                piece(call_part(arguments[cut:])),
                piece({}, "tool_calls"),
            ]
        )
        calls = [c for e in events for ch in e["choices"] for c in ch["delta"].get("tool_calls", [])]
        assert [c["function"]["name"] for c in calls] == ["get_balance"]
        assert json.loads(calls[0]["function"]["arguments"]) == {"iban": "[REDACTED:iban]", "n": 1}
        assert inspection.decision == "redact"


@pytest.mark.parametrize("name", ["transfer", "Get_balance", "get_balance ", "get_b\u0430lance", ""])
def test_an_unlisted_tool_ends_the_stream_before_any_of_it_is_sent(name):
    inspection = Inspection(REDACT, "a")
    stream = ChatStream(inspection)
    half = len(name) // 2
    assert b"tool_calls" not in b"".join(feed(stream, piece(call_part("{}", name=name[:half]))))
    assert b"tool_calls" not in b"".join(feed(stream, piece(call_part("", name=name[half:]))))
    with pytest.raises(Refusal, match=r"POLICY\.TOOL_DENIED"):
        feed(stream, piece({}, "tool_calls"))
    assert inspection.tool_uses
    assert all(use.tool_id.startswith("h:") for use in inspection.tool_uses)


def test_legacy_function_calls_are_held_and_checked_too():
    with pytest.raises(Refusal, match=r"POLICY\.TOOL_DENIED"):
        run_chat(
            [piece({"function_call": {"name": "trans", "arguments": ""}}), piece({"function_call": {"name": "fer"}})]
        )
    events, _, _ = run_chat(
        [piece({"function_call": {"name": "get_balance", "arguments": "{}"}}), piece({}, "function_call")]
    )
    assert events[-1]["choices"][0]["delta"]["function_call"] == {"name": "get_balance", "arguments": "{}"}


def test_choices_and_reasoning_have_channels_of_their_own():
    card = "4111 1111 1111 1111"
    pieces = [piece({"content": c, "reasoning_content": c}, index=i) for c in card for i in (0, 1)]
    events, _, stream = run_chat([*pieces, piece({}, "stop"), piece({}, "stop", index=1)])
    assert stream.complete
    for index in (0, 1):
        for key in ("content", "reasoning_content"):
            text = "".join(c["delta"].get(key) or "" for e in events for c in e["choices"] if c["index"] == index)
            assert text == "[REDACTED:payment_card]"


def test_what_is_left_at_the_end_without_a_finish_is_scanned_and_sent():
    events, _, stream = run_chat([piece({"content": "4111 1111 "}), piece({"content": "1111 1111"})])
    assert "[REDACTED:payment_card]" in json.dumps(events)
    assert "1111" not in json.dumps(events)
    assert stream.complete


def test_usage_and_extra_fields_pass_scanned_and_logprobs_do_not():
    events, _, stream = run_chat(
        [
            piece({"content": "Hi"}, "stop", citations=[{"id": "card 4111 1111 1111 1111"}]),
            json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
            json.dumps({"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": "4111"}]}}]}),
        ]
    )
    assert stream.usage[:2] == (1, 2)
    assert events[0]["citations"] == [{"id": "card [REDACTED:payment_card]"}]
    assert "logprobs" not in json.dumps(events)


@pytest.mark.parametrize(
    ("chunk", "code"),
    [
        ("[]", "WIRE.MALFORMED"),
        ("{", "WIRE.MALFORMED"),
        ('{"choices": {}}', "WIRE.MALFORMED"),
        ('{"choices": [1]}', "WIRE.MALFORMED"),
        (piece({"content": 1}), "WIRE.UNSCANNABLE"),
        (piece({"audio": {"data": "UklGRg=="}}), "WIRE.UNSCANNABLE"),
        (piece({"content": "x"}, index=16), "WIRE.MALFORMED"),
        (piece({"content": "x"}, index=-1), "WIRE.MALFORMED"),
        (piece({"tool_calls": [1]}), "WIRE.MALFORMED"),
        (piece(call_part(5)), "WIRE.UNSCANNABLE"),
        (piece({}, finish=5), "WIRE.MALFORMED"),
        (piece(call_part("x" * (MAX_CALLS + 1))), "WIRE.LIMIT"),
        ('{"error": {"message": "boom"}}', "SYSTEM.BACKEND"),
    ],
)
def test_chunks_that_are_not_understood_end_the_stream(chunk, code):
    with pytest.raises(Refusal) as caught:
        run_chat([chunk])
    assert caught.value.code == code


def test_text_after_the_end_of_a_choice_is_refused():
    with pytest.raises(Refusal, match=r"WIRE\.MALFORMED"):
        run_chat([piece({"content": "a"}, "stop"), piece({"content": "b"})])


def test_a_private_key_that_cannot_be_cut_out_is_blocked_though_the_policy_says_redact():
    text = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA"
    with pytest.raises(Refusal, match="PRIVATE_KEY"):
        run_chat([piece({"content": c}) for c in text])
    inspection = Inspection(REDACT, "a")
    fields = Fields(RESPONSE)
    OpenAIChat().read_response({"choices": [{"message": {"role": "assistant", "content": text}}]}, fields, inspection)
    inspection.scan(fields)
    assert inspection.decision == "block"
