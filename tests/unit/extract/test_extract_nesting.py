"""Markup that costs too much to parse is known before; ordinary markup is not."""

import pytest

from gateway.extract.nesting import MAX_NESTING, is_too_complex

FEW = "<p>x" * 1_000


@pytest.mark.parametrize(
    "html",
    [
        "<div>x</div>" * 20_000,
        "<p>x" * 20_000,
        "<ul>" + "<li>x" * 20_000,
        "<dl>" + "<dt>x<dd>y" * 10_000,
        "<table>" + "<tr><td>x<td><font>y" * 10_000,
        "<table>" + "<tr><td><b>x</b></td></tr>" * 10_000 + "</table>",
        "<br><img src=x>" * 10_000,
        "<p><b>x</b></p>" * 5_000,
        "<a href='x'><b><i><u>x</u></i></b></a>" * 5_000,
        "<p " + " ".join(f"a{at}=1" for at in range(40)) + ">",
        "tekst " * 10_000,
        "",
    ],
)
def test_wide_and_sloppy_markup_is_cheap(html):
    assert not is_too_complex(html)


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * (MAX_NESTING + 1),
        "<div></x>" * (MAX_NESTING + 1),
        "<div><!--</div>-->" * (MAX_NESTING + 1),
        '<div a="</div>">' * (MAX_NESTING + 1),
        "<div><object></div></object>" * (MAX_NESTING + 1),
        "<svg>" + "<div></div>" * (MAX_NESTING + 1),
        "<div><span></div>" * (MAX_NESTING + 1),
        "<b></i>" * 500 + FEW,
        "<b><div></b></div>" * 2_000 + FEW,
        "<p " + " ".join(f"a{at}" for at in range(100)) + ">",
        '<p a=">" ' + " ".join(f"a{at}='>'" for at in range(100)) + ">",
    ],
)
def test_markup_that_is_deep_or_crowded_is_known(html):
    assert is_too_complex(html)
