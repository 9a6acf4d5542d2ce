"""Mail clients and servers of every make hand over to the real, running gateway.

msmtp, Python's smtplib, Exim, Postfix, and the dialogue of Exchange.
"""

import dataclasses
import email
import email.policy
import re
import smtplib

import pytest

from gateway.demo import _WVGGZ as WVGGZ
from tests import certs
from tests.peers import daemon, exchange, exim, gateway, msmtp, postfix
from tests.scenarios import client_town
from tests.scenarios.client_town import (
    MOST_RECIPIENTS,
    NAME,
    ORDINARY,
    PASSWORD,
    SENDER,
    STRANGER,
    USER,
    assert_explained,
    case,
    compose,
)

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("client-mtas")]

LOGIN = msmtp.Login(USER, PASSWORD)


@pytest.fixture(scope="module")
def town(ca, zones, resolver, start_once, tmp_path_factory):
    place = tmp_path_factory.mktemp("client")
    return client_town.build(ca, zones, resolver, start_once, place)


# --- msmtp ----------------------------------------------------------------------------
def run_msmtp(town, to, octets, *, login=LOGIN, implicit=False, sender=SENDER):
    server = town.implicit if implicit else town.starttls
    return msmtp.send(
        server, NAME, town.ca, sender, (to,), octets, login=login, implicit=implicit
    )


@pytest.mark.parametrize("mechanism", ["on", "plain", "login"])
@pytest.mark.parametrize("implicit", [False, True])
def test_msmtp_delivers_with_tls_and_auth(town, implicit, mechanism):
    to = f"msmtp-{mechanism}-{implicit}@gewoon.test".lower()
    octets = compose(ORDINARY + b".\r\n..twee\r\n", to)
    login = msmtp.Login(USER, PASSWORD, mechanism)
    done = run_msmtp(town, to, octets, login=login, implicit=implicit)
    assert done.exit_code == 0, done
    (delivery,) = town.received(to)
    assert delivery.content == octets


def test_msmtp_with_a_wrong_password_says_so_and_sends_nothing(town):
    to = "msmtp-wrong@gewoon.test"
    login = msmtp.Login(USER, "not the password")
    done = run_msmtp(town, to, compose(ORDINARY, to), login=login)
    assert done.exit_code == 77, done  # EX_NOPERM
    assert "535 5.7.8" in done.said
    right = run_msmtp(town, to, compose(ORDINARY, to))
    assert right.exit_code == 0, right  # one slip of the finger locks nobody out
    assert len(town.received(to)) == 1


def test_msmtp_without_auth_is_nobody(town):
    to = "msmtp-nobody@gewoon.test"
    done = run_msmtp(town, to, compose(ORDINARY, to), login=None)
    assert done.exit_code != 0
    assert "530 5.7.0" in done.said


def test_msmtp_shows_its_user_reason_remedy_and_reference_of_a_refused_message(town):
    done = run_msmtp(town, STRANGER, case(STRANGER))
    assert done.exit_code == 69, done  # EX_UNAVAILABLE: no temporary failure
    assert "550" in done.said
    assert_explained(re.sub(r"msmtp: server message: 550[- ]5\.7\.1 ", "", done.said))


def test_msmtp_shows_its_user_why_a_foreign_sender_is_refused(town):
    to = "msmtp-foreign@gewoon.test"
    octets = compose(ORDINARY, to, author="jan@elders.test")
    done = run_msmtp(town, to, octets, sender="jan@elders.test")
    assert done.exit_code != 0
    assert "K201" in done.said
    assert "Verstuur het vanaf uw eigen gemeentelijke adres" in done.said


def test_msmtp_shows_its_user_which_recipient_is_refused(town):
    done = run_msmtp(town, "iemand@[192.0.2.1]", compose(ORDINARY, "x@gewoon.test"))
    assert done.exit_code == 65, done  # EX_DATAERR
    assert "iemand@[192.0.2.1]" in done.said
    assert "501 5.1.3" in done.said


# --- smtplib --------------------------------------------------------------------------
BODIES = {
    "dots": b".\r\n..\r\n...\r\n.a\r\n \t.\r\n",
    "last-dot": b"tekst\r\n.\r\n",
    "last-two-dots": b"tekst\r\n..\r\n",
    "no-line-end": b"laatste regel zonder einde",
    "dot-no-line-end": b"tekst\r\n.",
    "blank": b"\r\n\r\n\r\n",
    "nothing": b"",
    "spaces": b"eind met spaties  \t \r\n \r\n",
    "from": b"From begint deze regel\r\n>From deze\r\n",
    "long": b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n",
    "utf-8": "Zoë, café, €\r\n".encode(),
}


def submit(client, octets, to):
    """As a script does; AUTH, when it is to be, has been done."""
    options = [] if octets.isascii() else ["BODY=8BITMIME"]
    return client.sendmail(SENDER, [to], octets, options)


def starttls(town, **certificate):
    client = smtplib.SMTP(*town.starttls, timeout=60)
    client.starttls(context=town.context(**certificate))
    return client


def implicit_tls(town, **certificate):
    context = town.context(**certificate)
    return smtplib.SMTP_SSL(*town.implicit, timeout=60, context=context)


@pytest.mark.parametrize("connect", [starttls, implicit_tls])
def test_smtplib_delivers_with_auth_plain(town, connect):
    to = f"smtplib-{connect.__name__}@gewoon.test".replace("_", "-")
    octets = compose(ORDINARY, to)
    with connect(town) as client:
        client.ehlo()
        assert client.has_extn("auth")
        client.user, client.password = USER, PASSWORD
        assert client.auth("PLAIN", client.auth_plain)[0] == 235
        submit(client, octets, to)
    (delivery,) = town.received(to)
    assert delivery.content == octets


@pytest.mark.parametrize("connect", [starttls, implicit_tls])
def test_smtplib_is_known_by_its_client_certificate(town, connect):
    """A-34: mTLS, bound to a client; without it the same script is nobody."""
    to = f"smtplib-mtls-{connect.__name__}@gewoon.test".replace("_", "-")
    with connect(town) as client, pytest.raises(smtplib.SMTPSenderRefused) as refused:
        submit(client, compose(ORDINARY, to), to)
    assert (refused.value.smtp_code, refused.value.smtp_error[:5]) == (530, b"5.7.0")
    octets = compose(ORDINARY, to)
    with connect(town, certificate=True) as client:
        submit(client, octets, to)
    (delivery,) = town.received(to)
    assert delivery.content == octets


@pytest.mark.parametrize("connect", [starttls, implicit_tls])
def test_another_certificate_of_the_same_authority_is_nobody(town, connect, tmp_path):
    """A-34: "any certificate of our CA" is not "any sender"."""
    other = certs.issue(town.ca, ["mail.gemeente.test"]).write(tmp_path, "other")
    to = "smtplib-other@gewoon.test"
    town = dataclasses.replace(town, files=other)
    with (
        connect(town, certificate=True) as client,
        pytest.raises(smtplib.SMTPSenderRefused) as refused,
    ):
        submit(client, compose(ORDINARY, to), to)
    assert refused.value.smtp_code == 530


def test_a_refused_message_does_not_harm_the_next_of_the_session(town):
    to = "smtplib-next@gewoon.test"
    octets = compose(ORDINARY, to)
    with starttls(town, certificate=True) as client:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            submit(client, case(STRANGER), STRANGER)
        submit(client, octets, to)
    assert refused.value.smtp_code == 550
    assert_explained(refused.value.smtp_error.decode())
    (delivery,) = town.received(to)
    assert delivery.content == octets


@pytest.mark.parametrize("name", BODIES)
def test_odd_last_lines_and_dots_reach_the_partner_octet_for_octet(town, name):
    """A-42: dot transparency both ways, with the dots of another's library."""
    to = f"octets-{name}@gewoon.test"
    octets = compose(BODIES[name], to)
    with starttls(town, certificate=True) as client:
        submit(client, octets, to)
    (delivery,) = town.received(to)
    # SMTP carries lines: the dot that ends the content begins one (RFC 5321 4.1.1.4).
    assert delivery.content == octets + b"\r\n" * (not octets.endswith(b"\r\n"))


def test_a_script_that_sends_many_messages_in_one_session_is_served(town):
    to = "smtplib-many@gewoon.test"
    sent = [compose(b"nummer %d\r\n" % at, to) for at in range(20)]
    with implicit_tls(town) as client:
        client.login(USER, PASSWORD)
        for octets in sent:
            submit(client, octets, to)
    assert sorted(each.content for each in town.received(to, 20)) == sorted(sent)


# --- Exim -----------------------------------------------------------------------------
@pytest.mark.parametrize("by", ["certificate", "password"])
def test_exim_delivers_ordinary_mail(town, start, by):
    to = f"exim-{by}@gewoon.test"
    server = start(run_exim(town, by))
    octets = compose(ORDINARY + b".\r\n..twee\r\n", to)
    server.submit(octets, SENDER, to)
    (delivery,) = town.received(to)
    assert delivery.content == octets
    assert b"(Exim " in delivery.octets.removesuffix(delivery.content)  # its Received
    assert "CV=yes" in server.log  # it verified the gateway
    assert server.inbox() == ()


def run_exim(town, by):
    return exim.sender(
        gateway.DOMAIN,
        town.starttls,
        NAME,
        town.ca,
        credential=town.certificate if by == "certificate" else None,
        login=(USER, PASSWORD) if by == "password" else None,
    )


def test_the_bounce_that_exim_makes_has_reason_remedy_and_reference(town, start):
    """R23: Exim's bounce keeps the whole multi-line 550, in Dutch and English."""
    server = start(run_exim(town, "certificate"))
    server.submit(case(STRANGER), SENDER, STRANGER)
    bounce = email.message_from_bytes(
        server.wait_for_inbox(), policy=email.policy.default
    )
    assert bounce["Return-path"] == "<>"
    assert STRANGER in bounce["X-Failed-Recipients"]
    human = next(bounce.iter_parts())
    assert_explained(human.get_content())
    assert "550" in human.get_content()


def test_of_103_recipients_exim_hands_over_100_and_at_once_the_other_3(town, start):
    """A-09: after 452 Exim begins a new transaction, as RFC 5321 4.5.3.1.10 advises."""
    recipients = [f"exim{at}@gewoon.test" for at in range(MOST_RECIPIENTS + 3)]
    server = start(run_exim(town, "certificate"))
    octets = compose(ORDINARY, recipients[0])
    with smtplib.SMTP(server.address, exim.PORT, timeout=60) as client:
        client.sendmail(SENDER, recipients, octets)
    for to in recipients:
        (delivery,) = town.received(to)
        assert delivery.content == octets
    references = re.findall(r"Accepted, reference ([0-9a-z]{26})", server.log)
    assert sorted(references.count(each) for each in set(references)) == [3, 100]
    assert server.inbox() == ()


# --- Exchange-like --------------------------------------------------------------------
FQDN = "EUR05-VI1-obe.outbound.protection." + "x" * 63 + ".gemeente.test"
WINDOWS_NAME = "EXCH_01"  # no name of DNS, and yet what some servers say


def run_exchange(town, fqdn=FQDN):
    return exchange.connector(town.starttls, NAME, town.ca, fqdn, town.files)


def codes(dialogue):
    return [reply.rsplit("\r\n", 1)[-1][:3] for reply in dialogue.replies]


@pytest.mark.parametrize("fqdn", [FQDN, WINDOWS_NAME])
def test_an_exchange_like_connector_delivers_to_many_pipelined_recipients(town, fqdn):
    recipients = [f"exchange{at}.{len(fqdn)}@gewoon.test" for at in range(20)]
    octets = compose("Beste Zoë,\r\n".encode() + ORDINARY, recipients[0])
    dialogue = run_exchange(town, fqdn).send(SENDER, recipients, octets)
    assert codes(dialogue) == [
        *("220", "250", "220", "250", "250"),
        *["250"] * 20,
        *("354", "250", "221"),
    ]
    assert dialogue.commands[3] == (
        f"MAIL FROM:<{SENDER}> SIZE={len(octets)} AUTH=<> BODY=8BITMIME"
    )
    assert "CHUNKING" not in dialogue.replies[3]  # so it is DATA, as said above
    for to in recipients:
        (delivery,) = town.received(to)
        assert delivery.content == octets


def test_an_exchange_like_connector_without_certificate_is_nobody(town):
    nobody = exchange.connector(town.starttls, NAME, town.ca, FQDN, None)
    to = "exchange-nobody@gewoon.test"
    dialogue = nobody.send(SENDER, [to], compose(ORDINARY, to))
    assert dialogue.replies[4].startswith("530-5.7.0 Bericht geweigerd: ")
    assert dialogue.replies[5].startswith("503 5.5.1 ")
    assert dialogue.final.startswith("554 5.5.1 ")


def test_an_exchange_like_report_has_reason_remedy_and_reference(town):
    """R23: both what the sender and what the administrator reads."""
    dialogue = run_exchange(town).send(SENDER, [STRANGER], case(STRANGER))
    assert dialogue.diagnostic.startswith("Remote server returned '550-5.7.1 K301 ")
    assert_explained(dialogue.diagnostic)
    assert_explained(dialogue.shown)
    assert "550" not in dialogue.shown


def test_an_exchange_like_report_on_ten_recipients_has_them_all_or_their_number(town):
    """R23: five by address, then how many more; within the 1,800 octets."""
    strangers = [f"naam-{at}@onbekend.test" for at in range(10)]
    dialogue = run_exchange(town).send(SENDER, strangers, case(strangers[0]))
    assert_explained(dialogue.shown)
    assert len(dialogue.final) <= 1800
    named = re.findall(r"<(naam-\d@onbekend\.test)>", dialogue.final)
    assert named == strangers[:5]
    assert "en 5 meer / and 5 more" in dialogue.final


def out_of_office(to, author, body=ORDINARY):
    head = exchange.OUT_OF_OFFICE.format(subject="Vraag", author=author)
    return f"From: Jan de Vries <{author}>\r\nTo: {to}\r\n{head}".encode() + body


def test_an_exchange_like_out_of_office_reply_passes_from_nobody(town):
    """A-06, R8: MAIL FROM:<> with From in a sender domain."""
    to = "exchange-oof@gewoon.test"
    octets = out_of_office(to, SENDER)
    dialogue = run_exchange(town).send("", [to], octets)
    assert dialogue.commands[3] == f"MAIL FROM:<> SIZE={len(octets)} AUTH=<>"
    assert dialogue.final.startswith("250 2.0.0 ")
    (delivery,) = town.received(to)
    assert delivery.reverse_path == ""
    assert delivery.content == octets


def test_an_exchange_like_out_of_office_reply_with_a_case_is_refused(town):
    """R8: whoever writes it, a case goes to partners only."""
    body = WVGGZ.encode().replace(b"\n", b"\r\n")
    octets = out_of_office(STRANGER, SENDER, body)
    dialogue = run_exchange(town).send("", [STRANGER], octets)
    assert dialogue.final.startswith("550")
    assert_explained(dialogue.shown)


def test_an_exchange_like_out_of_office_reply_of_a_stranger_is_refused(town):
    """A-46: the null reverse-path does not free From."""
    octets = out_of_office("x@gewoon.test", "jan@elders.test")
    dialogue = run_exchange(town).send("", ["x@gewoon.test"], octets)
    assert dialogue.final.startswith("550-5.7.1 K20")


# --- Postfix --------------------------------------------------------------------------
@pytest.fixture(scope="module")
def own(town, start_once):
    """The municipality's Postfix, known by its certificate (smtp_tls_chain_files)."""
    return start_once(
        postfix.sender(
            gateway.DOMAIN,
            relay=town.starttls,
            tls="verify",
            relay_ca=town.ca,
            credential=town.certificate,
            address=town.own_address,
            parameters={
                "smtp_tls_verify_cert_match": NAME,
                # One transaction for all: 50 is Postfix's own limit.
                "smtp_destination_recipient_limit": "1000",
            },
        )
    )


def test_postfix_is_known_by_its_client_certificate(town, own):
    """A-34: mTLS; TLS and the envelope's sender alone are not enough."""
    to = "postfix-mtls@gewoon.test"
    octets = compose(ORDINARY, to)
    own.submit(octets, SENDER, [to])
    (delivery,) = town.received(to)
    assert delivery.content == octets
    own.wait_for_log(rf"to=<{to}>.*status=sent \(250 2\.0\.0 ")


def test_postfix_delivers_with_implicit_tls(town, start):
    """A-33: smtp_tls_wrappermode, as port 465 wants."""
    to = "postfix-implicit@gewoon.test"
    wrapped = start(
        postfix.sender(
            gateway.DOMAIN,
            relay=town.implicit,
            tls="verify",
            relay_ca=town.ca,
            credential=town.certificate,
            parameters={
                "smtp_tls_verify_cert_match": NAME,
                "smtp_tls_wrappermode": "yes",
            },
        )
    )
    octets = compose(ORDINARY, to)
    wrapped.submit(octets, SENDER, [to])
    (delivery,) = town.received(to)
    assert delivery.content == octets


def test_postfix_without_its_certificate_bounces_and_says_why(town, start):
    to = "postfix-nobody@gewoon.test"
    relay, ca = town.starttls, town.ca
    parameters = {"smtp_tls_verify_cert_match": NAME}
    bare = start(
        postfix.sender(
            gateway.DOMAIN,
            relay=relay,
            tls="verify",
            relay_ca=ca,
            parameters=parameters,
        )
    )
    bare.submit(compose(ORDINARY, to), SENDER, [to])
    line = bare.wait_for_log(rf"to=<{to}>.*status=bounced")
    assert "this mail server is not known here" in line
    assert "530 5.7.0 Kenmerk / reference: " in line


def test_of_150_recipients_postfix_hands_over_100_and_then_the_other_50(town, own):
    """A-09: 452 4.5.3 for the extra ones only, and nobody gets it twice."""
    recipients = [f"velen{at:03}@gewoon.test" for at in range(150)]
    octets = compose(ORDINARY, "velen@gewoon.test")
    own.submit(octets, SENDER, recipients)

    def all_sent():
        if len(many(own, "sent")) == 150:
            return True
        # With queue runs each second qmgr now and then overlooks what it has put off
        # ("skipped, still being delivered"); an administrator would flush, too.
        own.flush()
        return False

    assert daemon.until(all_sent, 150), "\n".join(own.log_lines()[-20:])
    deferred = many(own, "deferred")
    assert len(deferred) == 50
    assert all("452 4.5.3 Too many recipients" in line for line in deferred.values())
    references = [
        re.search(r"[0-9a-z]{26}", line)[0] for line in many(own, "sent").values()
    ]
    assert sorted(references.count(each) for each in set(references)) == [50, 100]
    for to in recipients:
        (delivery,) = town.received(to)
        assert delivery.content == octets
    assert own.deliveries() == ()  # the sender heard of nothing


def many(own, status):
    """The last line with this status of each recipient `velen...`."""
    pattern = re.compile(rf"postfix/smtp\[.*to=<(velen\d+)@.*status={status} ")
    found = (pattern.search(line) for line in own.log_lines())
    return {match[1]: match.string for match in found if match}


def test_a_bounce_that_postfix_forwards_is_accepted_and_never_answered(town, own):
    """A-06: MAIL FROM:<> with From in a sender domain."""
    to = "postfix-bounce@gewoon.test"
    author = "MAILER-DAEMON@gemeente.test"
    octets = compose(ORDINARY, to, "Undelivered Mail", author)
    own.submit(octets, "", [to])
    (delivery,) = town.received(to)
    assert delivery.reverse_path == ""
    assert delivery.content == octets


def test_a_bounce_from_elsewhere_that_postfix_forwards_is_refused(town, own):
    """A-06, A-46: a null reverse-path is no way round the author's domain."""
    to = "postfix-foreign@gewoon.test"
    octets = compose(ORDINARY, to, "Undelivered Mail", "MAILER-DAEMON@elders.test")
    own.submit(octets, "", [to])
    line = own.wait_for_log(rf"to=<{to}>.*status=bounced")
    assert "550-5.7.1 K20" in line
