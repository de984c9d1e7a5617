"""RFC 8785 as its own examples have it."""

from __future__ import annotations

import struct

import pytest

from gateway.canonical_json import canonical_json


def double(bits: str) -> float:
    return struct.unpack(">d", bytes.fromhex(bits))[0]


@pytest.mark.parametrize(
    ("bits", "written"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_appendix_b_lists_them(bits, written):
    assert canonical_json([double(bits)]) == f"[{written}]".encode()


def test_names_are_ordered_by_utf_16_code_units():
    """Section 3.2.3; the order of code points would put the emoji last."""
    names = {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\u0080": 6, "ö": 7}
    assert canonical_json(names) == b'{"\\r":2,"1":4,"%s":6,"%s":7,"%s":1,"%s":5,"%s":3}' % tuple(
        name.encode() for name in ("\u0080", "ö", "€", "😀", "\ufb33")
    )


def test_the_example_of_section_3_2_2():
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert (
        canonical_json(value)
        == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


def test_both_ways_of_writing_agree():
    """Values without fractions take a faster way; one fraction beside them must not change their bytes."""
    value = {"b": ["\x7f\u2028ü", 1, True], "a": {"z": None, "y": "\t"}}
    assert canonical_json([value, 0.5]) == b"[" + canonical_json(value) + b",0.5]"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\ud800": 1}])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(ValueError, match=r".*"):
        canonical_json([value, 0.5])
