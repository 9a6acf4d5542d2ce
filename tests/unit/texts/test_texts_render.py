"""Sentences for people: bounded, both languages, nothing of the message in them."""

import datetime
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.delivery import codes as delivery_codes
from gateway.model.address import Domain, Mailbox
from gateway.model.assurance import Assurance
from gateway.model.ids import Code, MunicipalityId
from gateway.model.partner import PartnerState, Route, RouteMethod
from gateway.model.verdict import Hold, Reason, Refuse, Relay
from gateway.texts import render
from tests.unit.policy import policy_desk as desk

CODES = sorted(render.TEXTS["nl"]["code"])
PERSON, UNKNOWN = (("recipient_kind", "person"),), (("recipient_kind", "unknown"),)


def municipality(extra: str = ""):
    return config.parse(desk.CONFIG % extra).municipalities[
        MunicipalityId("voorbeeldstad")
    ]


def refuse(address="info@onbekend.example", code="K301", parameters=UNKNOWN):
    return Refuse(
        Mailbox.parse(address, smtputf8=True), "4", Reason(Code(code), parameters)
    )


def leaves(table, path=""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


def test_both_languages_have_the_same_keys_and_placeholders():
    def shape(language):
        return {
            path: sorted(f for _, f, _, _ in string.Formatter().parse(text) if f)
            for path, text in leaves(render.TEXTS[language])
        }

    assert shape("nl") == shape("en")


def test_every_code_that_the_gateway_uses_has_its_sentences():
    known = {
        value
        for name, value in vars(delivery_codes).items()
        if name.isupper() and isinstance(value, str)
    }
    rows = {row.code for row in desk.policy().rows if row.code}
    wanted = known | rows | {f"K4{at:02d}" for at in range(1, 16)}

    assert wanted | {"K201", "K601", "K901"} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_page_in_both_languages(code):
    page = (desk.ROOT / "docs" / "codes" / f"{code}.md").read_text("utf-8")

    for language in render.LANGUAGES:
        assert render.TEXTS[language]["code"][code]["what"] in page
        assert render.TEXTS[language]["code"][code]["do"] in page


def test_no_page_is_left_of_a_code_that_is_gone():
    pages = {path.stem for path in (desk.ROOT / "docs" / "codes").glob("K*.md")}

    assert set(CODES) == pages


@pytest.mark.parametrize("code", CODES)
def test_texts_for_a_reply_are_printable_ascii_and_short(code):
    for language in render.LANGUAGES:
        for text in render.TEXTS[language]["code"][code].values():
            assert text.isascii()
            assert text.isprintable()
            assert len(text) <= 160


def test_every_partner_state_has_a_word():
    for language in render.LANGUAGES:
        words = render.TEXTS[language]["state"]
        assert {state.value for state in PartnerState} <= set(words)


def test_every_role_of_the_shipped_packs_has_a_word():
    roles = {r for pack in desk.policy().packs.values() for r in pack.permitted_roles}

    for language in render.LANGUAGES:
        assert roles <= set(render.TEXTS[language]["role"])


# --- sentences --------------------------------------------------------------


def test_parameters_fill_the_sentence_in_each_language():
    reason = Reason(
        Code("K304"),
        (
            ("partner", "GGZ Voorbeeld"),
            ("regime", "Wet verplichte ggz"),
            ("regime_en", "Compulsory Mental Healthcare Act"),
            ("roles", "om, geneesheer_directeur, nieuwe_rol"),
        ),
    )

    explained = render.explain(reason)

    assert "GGZ Voorbeeld" in explained.nl
    assert "Wet verplichte ggz" in explained.nl
    assert "Compulsory Mental Healthcare Act" in explained.en
    assert "geneesheer-directeur, nieuwe rol" in explained.do_nl
    assert "Public Prosecution Service" in explained.do_en


def test_a_long_list_of_roles_is_cut():
    roles = ", ".join(sorted(desk.policy().packs["wvggz"].permitted_roles))

    assert render.remedy("K304", "nl", (("roles", roles),)).endswith(" en anderen.")
    assert render.remedy("K304", "en", (("roles", roles),)).endswith(" and others.")


def test_a_missing_parameter_is_a_dash_and_an_unknown_code_is_our_fault():
    assert render.sentence("K303", "en").startswith("- cannot receive")
    assert render.sentence("K999", "nl") == render.sentence("K901", "nl")


def test_a_partner_it_resembles_is_asked_about():
    said = render.sentence("K301", "nl", (*UNKNOWN, ("resembles", "OM Voorbeeld")))

    assert said.endswith("Bedoelde u misschien OM Voorbeeld?")


def test_names_are_brought_to_printable_ascii_and_cut():
    said = render.sentence("K303", "nl", (("partner", "Café\r\n€ " + "x" * 200),))

    assert said.startswith("Cafe??? xxx")
    assert said.isprintable()
    assert len(said) < 200


@pytest.mark.parametrize(
    ("parameters", "own"),
    [(PERSON, "Bel 14 0123."), (UNKNOWN, "Meld het via het portaal."), ((), None)],
)
@pytest.mark.parametrize("code", ["K301", "K308"])
def test_the_municipalitys_own_alternative_replaces_the_remedy(code, parameters, own):
    ours = municipality(
        'alternative_person = { nl = "Bel 14 0123.", en = "Call 14 0123." }\n'
        'alternative_unknown = { nl = "Meld het via het portaal.", en = "Use the portal." }'
    )

    remedy = render.remedy(code, "nl", parameters, ours)

    standard = render.TEXTS["nl"]["code"][code]["do"]
    assert remedy == (own or standard)
    english = render.remedy(code, "en", parameters, ours)
    assert english in {
        "Call 14 0123.",
        "Use the portal.",
        render.TEXTS["en"]["code"][code]["do"],
    }


def test_a_held_message_keeps_the_officer_as_its_remedy():
    ours = municipality('alternative_unknown = { nl = "Bel.", en = "Call." }')

    assert "privacy officer" in render.remedy("K302", "nl", UNKNOWN, ours)


def test_a_private_recipient_is_shown_the_way_for_residents():
    assert "inwoners" in render.remedy("K301", "nl", PERSON, municipality())


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("K201", "5.7.1"),
        ("K304", "5.7.1"),
        ("K401", "5.7.10"),
        ("K407", "5.1.2"),
        ("K420", "5.4.7"),
        ("K499", "5.7.10"),
        ("K501", "5.7.5"),
        ("K601", "5.6.0"),
        ("K901", "4.3.0"),
        ("Q", "5.7.1"),
    ],
)
def test_a_code_has_its_enhanced_status(code, status):
    assert render.enhanced_status(code) == status


@pytest.mark.parametrize("code", ["K402", "K403", "K404", "K999"])
def test_while_we_keep_trying_the_status_is_a_temporary_one(code):
    assert render.retry_status(code).startswith("4.")


# --- refusal ----------------------------------------------------------------


def octets(reply) -> int:
    return len(reply.render().encode()) + 2


def test_a_refusal_says_dutch_then_english_then_whom_then_our_reference():
    reply = render.refusal(
        (refuse(),), "abc123", municipality('page = "https://hulp.example/mail"')
    )

    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    dutch, english, who, last = reply.lines
    assert dutch.startswith("K301 Dit bericht gaat over een gevoelige zaak")
    assert "Controleer het adres." in dutch
    assert english.startswith("K301 This message is about a sensitive case")
    assert who == "<info@onbekend.example> (K301)"
    assert last == "Kenmerk / reference: abc123 - https://hulp.example/mail"


def test_of_many_recipients_five_are_named_and_the_rest_counted():
    verdicts = [refuse(f"r{at}@onbekend.example") for at in range(200)]

    reply = render.refusal(verdicts, "abc", municipality())

    named = [line for line in reply.lines if line.startswith("<")]
    assert len(named) == 5
    assert "en 195 meer / and 195 more" in reply.lines


def test_two_reasons_are_both_said_dutch_first():
    verdicts = (
        refuse(),
        refuse("b@om.example", "K303", (("partner", "OM"), ("state", "expired"))),
    )

    reply = render.refusal(verdicts, "abc", municipality())

    starts = [line[:9] for line in reply.lines[:4]]
    assert starts == ["K301 Dit ", "K303 OM k", "K301 This", "K303 OM c"]


def test_r23_two_reasons_of_one_code_say_whose_each_is():
    verdicts = (refuse(), refuse("jan@gmail.example", "K301", PERSON), refuse("c@d.nl"))

    reply = render.refusal(verdicts, "abc", municipality())

    assert [line[:9] for line in reply.lines[:2]] == ["K301 [1] ", "K301 [2] "]
    assert reply.lines[4:7] == (
        "<info@onbekend.example> (K301 [1])",
        "<jan@gmail.example> (K301 [2])",
        "<c@d.nl> (K301 [1])",
    )


def test_verdicts_that_are_no_refusal_are_passed_over():
    relay = Relay(
        Mailbox.parse("a@om.example"),
        "12",
        Route(RouteMethod.MX, Assurance.AUTHENTICATED),
    )
    hold = Hold(Mailbox.parse("b@x.example"), "5a", Reason(Code("K302")))

    reply = render.refusal((relay, refuse(), hold), "abc", municipality())

    assert [line for line in reply.lines if line[0] == "<"] == [
        "<info@onbekend.example> (K301)"
    ]


def test_our_own_fault_is_answered_451():
    reply = render.refusal((refuse(code="K901", parameters=()),), "abc", municipality())

    assert (reply.code, reply.enhanced) == (451, "4.3.0")


def test_a_local_part_outside_ascii_is_left_out():
    reply = render.refusal((refuse("jösé@onbekend.example"),), "abc", municipality())

    assert "<...@onbekend.example> (K301)" in reply.lines


@given(
    st.lists(
        st.tuples(
            st.integers(1, 64),
            st.integers(1, 60),
            st.sampled_from(CODES),
            st.text(max_size=300),
        ),
        min_size=1,
        max_size=30,
    ),
    st.text(alphabet="abcdefghijk0123456789", min_size=1, max_size=40),
)
def test_no_refusal_is_too_long_or_holds_anything_but_ascii(recipients, reference):
    long = "x" * 200
    ours = municipality(
        f'alternative_person = {{ nl = "{long}", en = "{long}" }}\n'
        f'alternative_unknown = {{ nl = "{long}", en = "{long}" }}\n'
        f'page = "https://hulp.example/{long}"'
    )
    verdicts = tuple(
        Refuse(
            Mailbox("a" * local, Domain(".".join(["d" * host] * 3) + ".example")),
            "4",
            Reason(Code(code), (*UNKNOWN, ("partner", name), ("resembles", name))),
        )
        for local, host, code, name in recipients
    )

    reply = render.refusal(verdicts, reference, ours)

    assert len(reply.lines) <= render.MAX_REPLY_LINES
    assert octets(reply) <= render.MAX_REPLY_OCTETS
    text = reply.render()
    assert all(len(line) <= render.MAX_LINE_OCTETS for line in text.split("\r\n"))
    assert text.isascii()
    assert text.replace("\r\n", "").isprintable()
    assert f"reference: {reference}" in reply.lines[-1]


# --- notices ----------------------------------------------------------------

KINDS = ["failed", "delayed", "held", "hold-expired", "split"]
UNTIL = datetime.datetime(2026, 3, 1, 14, 30, tzinfo=datetime.UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_a_notice_says_what_happened_what_to_do_and_our_reference_in_both_languages(
    kind,
):
    explained = render.explain(Reason(Code("K301"), UNKNOWN))

    words = render.notice(
        kind, (("info@onbekend.example", explained),), "abc123", UNTIL
    )

    dutch, english = re.split(r"\n-{60}\n", words.body)
    for part, language in ((dutch, "nl"), (english, "en")):
        assert render.TEXTS[language]["notice"][kind]["heading"] in part
        assert "info@onbekend.example" in part
        assert f"{explained.what(language)} (K301)" in part
        assert explained.do(language) in part
        assert "abc123" in part
    assert render.TEXTS["nl"]["notice"][kind]["subject"] in words.subject


def test_only_a_delay_says_until_when_we_try():
    line = ("a@om.example", render.explain(Reason(Code("K406"))))

    delayed = render.notice("delayed", (line,), "abc", UNTIL).body
    assert "01-03-2026 14:30 UTC" in delayed
    assert "UTC" not in render.notice("delayed", (line,), "abc").body
    assert "UTC" not in render.notice("failed", (line,), "abc", UNTIL).body


def test_a_recipient_that_gets_it_has_no_code_and_nothing_to_do():
    good = ("a@om.example", render.explain_word("on-its-way"))

    body = render.notice("split", (good,), "abc").body

    assert "onderweg" in body
    assert "K" + "3" not in body
    assert "Wat kunt u doen" not in body


def test_a_word_is_added_to_a_reason():
    explained = render.with_word(render.explain(Reason(Code("K420"))), "uncertain")

    assert explained.nl.endswith(render.TEXTS["nl"]["word"]["uncertain"])
    assert explained.en.endswith(render.TEXTS["en"]["word"]["uncertain"])
    assert explained.do_nl == render.TEXTS["nl"]["code"]["K420"]["do"]
