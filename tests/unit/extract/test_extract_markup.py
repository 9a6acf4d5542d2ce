import pytest

from gateway.extract.markup import meta_charset, read_html


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("crisis<b>maat</b>regel", ["crisismaatregel"]),
        ("<p>een</p><p>twee</p>", ["een", "twee"]),
        ("<td>een</td><td>twee</td>", ["een", "twee"]),
        ("een<br>twee<br/>drie", ["een", "twee", "drie"]),
        ("zorg&shy;machtiging caf&eacute;", ["zorg\u00admachtiging", "café"]),
        ("<style>.x{}</style><script>var x</script>tekst", ["tekst"]),
        ("zorg<span style='display:none'>xyz</span>machtiging", ["zorgmachtiging"]),
        ("<noscript>gezien</noscript>", ["gezien"]),
        ("<html hidden><body style='display:none'>toch gelezen", ["toch", "gelezen"]),
        ("", []),
    ],
)
def test_what_is_seen_is_read_with_its_words_whole(html, words):
    assert read_html(html).visible.split() == words


@pytest.mark.parametrize(
    "html",
    [
        "<img alt='zorgkaart'>",
        "<a title=zorgkaart>x</a>",
        "<!-- zorgkaart -->",
        "<!--[if mso]><p>zorgkaart</p><![endif]-->",
        "<!-- niet gesloten zorgkaart",
        "<p hidden>zorgkaart</p>",
        "<div style='DISPLAY: NONE'><p hidden>zorgkaart</p></div>",
        "<span style='visibility:hidden'>zorgkaart</span>",
        "<input value='zorgkaart'>",
        "<meta name=description content='zorgkaart'>",
    ],
)
def test_what_hides_in_the_markup_is_read_apart(html):
    markup = read_html(html)

    assert "zorgkaart" in markup.hidden
    assert "zorgkaart" not in markup.visible
    assert markup.complete


def test_wide_markup_is_no_deep_markup():
    markup = read_html("<div>x</div>" * 20_000)

    assert markup.complete
    assert markup.visible.count("x") == 20_000


def test_deep_markup_loses_its_tags_only():
    markup = read_html("<div>" * 50_000 + "zorgkaart")

    assert markup.visible.strip() == "zorgkaart"
    assert not markup.complete


def test_the_charset_an_html_text_names_itself():
    assert meta_charset(b"<META charset = 'utf-8'>") == "utf-8"
    old = b'<meta http-equiv=x content="text/html; charset=latin-1">'
    assert meta_charset(old) == "latin-1"
    assert meta_charset(b"<p>") is None
