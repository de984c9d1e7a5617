"""Every string of a body is collected with its place, and what is rewritten stands where it stood."""

from __future__ import annotations

import json

from gateway.fields import REQUEST, Fields

BODY = {
    "messages": [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}],
    "metadata": {"ticket": "three", "card": 4111111111111111, "price": 12.5, "open": True, "none": None},
    "deep": [[["four"]], {"five": [1.5e10]}],
}


def collected(body):
    fields = Fields(REQUEST)
    fields.members(body, "metadata")
    return fields


def test_strings_keys_and_large_numbers_are_collected_in_reading_order():
    """Keys that every format is made of are left out; numbers below 1e10 cannot be what is looked for."""
    assert collected(json.loads(json.dumps(BODY))).texts == [
        *("user", "text", "one", "text", "two"),
        *("metadata", "ticket", "three", "card", "4111111111111111", "price", "open", "none"),
        *("deep", "four", "five", "15000000000"),
    ]


def test_a_list_of_character_codes_is_read_as_text():
    """Numbers that are no bytes, and lists too short to hide anything, are left alone."""
    codes = [ord(c) for c in "a secret"]
    assert collected({"codes": codes}).texts == ["codes", "a secret"]
    assert collected({"codes": [*codes, 300]}).texts == collected({"codes": codes[:7]}).texts == ["codes"]
    assert collected({"codes": [*codes, "b"]}).texts == ["codes", "b"]


def test_a_text_is_rewritten_in_place_and_a_key_or_number_cannot_be():
    body = json.loads(json.dumps(BODY))
    fields = collected(body)
    for index, text in enumerate(fields.texts):
        if fields.rewritable(index):
            fields.rewrite(index, text.upper())
    assert body["messages"][0]["content"][1] == {"type": "TEXT", "text": "TWO"}
    assert body["metadata"] == BODY["metadata"] | {"ticket": "THREE"}
    assert body["deep"] == [[["FOUR"]], {"five": [1.5e10]}]


def test_json_in_a_string_is_looked_into_and_written_anew():
    call = {"arguments": '{"note": "\\u0061", "note": "b", "more": ["c"]}'}
    fields = Fields(REQUEST)
    assert fields.json_text(call, "arguments", "tool_args") == {"note": "b", "more": ["c"]}
    assert call["arguments"] == '{"note":"b","more":["c"]}'  # a repeated key reads the same everywhere
    fields.rewrite(fields.texts.index("c"), "x")
    assert json.loads(call["arguments"]) == {"note": "b", "more": ["x"]}


def test_a_string_that_is_no_json_object_is_one_text():
    for text in ("plain", '"quoted"', "12", '{"a": NaN}', "{", "\ud800"):
        call = {"input": text}
        fields = Fields(REQUEST)
        assert fields.json_text(call, "input", "tool_args") == text
        assert (call["input"], fields.texts) == (text, [text])


def test_sealed_members_are_collected_and_never_rewritten():
    block = {"thinking": "one", "signature": "two", "more": [{"signature": "three"}, {"signature": ["four"]}]}
    fields = Fields(REQUEST)
    fields.members(block, "assistant", sealed=("signature",))
    found = dict(zip(fields.texts, map(fields.rewritable, range(len(fields.texts))), strict=True))
    assert {text: found[text] for text in ("one", "two", "three", "four")} == {
        "one": True, "two": False, "three": False, "four": True,
    }  # fmt: skip
