"""Header fields: decoded by us, tolerant, and without ever raising."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.extract.header import decode_field, names_twice, parameters, to_octets


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("gewoon", "gewoon"),
        ("=?utf-8?Q?zorg=6Dachtiging?=", "zorgmachtiging"),
        ("=?utf-8?b?em9yZ21hY2h0aWdpbmc=?=", "zorgmachtiging"),
        ("=?iso-8859-1*nl?q?caf=E9?=", "café"),
        ("=?utf-8?q?zorg?=\r\n =?utf-8?q?machtiging?=", "zorgmachtiging"),
        ("=?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "café"),
        ("=?utf-8?q?een?= =?iso-8859-1?q?_twee?=", "een twee"),
        ("voor =?utf-8?q?mid=5Fden?= na", "voor mid_den na"),
        ("=?x-geheim?q?zorgkaart?=", "zorgkaart"),
        ("=?utf-8?q?kapot=ZZ?=", "kapot=ZZ"),
        ("=?utf-8?x?onbekend?=", "=?utf-8?x?onbekend?="),
        ("gevouwen\r\n\tveld", "gevouwen\tveld"),
        ("caf\udce9", "café"),
        ("caf\udcc3\udca9", "café"),
        ("=?utf-8?q?a=0D=0ABcc:x?=", "a\r\nBcc:x"),
    ],
)
def test_a_field_is_decoded(value, text):
    assert decode_field(value) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('text/plain; charset="utf-8"', {"charset": "utf-8"}),
        ("x; a=1; A=2", {"a": "1"}),
        (r'x; name="a\"b;c"', {"name": 'a"b;c'}),
        ("x; name*=utf-8'nl'zorg%C3%A9", {"name": "zorgé"}),
        ("x; name*1=tiging; name*0=zorgmach", {"name": "zorgmachtiging"}),
        ("x; name*0*=iso-8859-1''caf%E9; name*1=.pdf", {"name": "café.pdf"}),
        ("x; name*=geen-aanhaling", {"name": "geen-aanhaling"}),
        ("x; name*=u''een; name=twee", {"name": "een twee"}),
        ('x; name="=?utf-8?q?zorgkaart?="', {"name": "zorgkaart"}),
        ('x; name="niet gesloten', {"name": "niet gesloten"}),
        ("x", {}),
    ],
)
def test_parameters_are_read_in_all_their_forms(value, expected):
    assert parameters(value) == expected


@given(st.text(max_size=80))
def test_no_field_makes_it_raise(value):
    try:
        to_octets(value)
    except UnicodeEncodeError:
        return  # a lone surrogate that the parser never makes
    decode_field(value)
    parameters(value)


@pytest.mark.parametrize(
    ("value", "twice"),
    [
        ("x; boundary=a", False),
        ("x; boundary=a; boundary=a", False),
        ('x; boundary=a; boundary="a"', False),
        ("x; boundary=a; Boundary=b", True),
        ("x; boundary=a; boundary*0=a", True),
        ("x; boundary*0=a; boundary*1=b", False),
        ("x; boundary*0=a; boundary*0=b", True),
        ("x; boundary*=utf-8''a", False),
        ("x; name=a; name=b", False),
    ],
)
def test_a_parameter_with_two_values_is_known(value, twice):
    assert names_twice(value, "boundary") is twice
