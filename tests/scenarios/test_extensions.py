"""Extensions with real peers: DSN, SMTPUTF8, REQUIRETLS, PROXY, shared services.

Postfix, swaks, Python's smtplib, HAProxy, and the dialogue of Microsoft 365, against the
real intake. How the wishes go on from the queue to the next hop is in `test_dsn`.
"""

import asyncio
import contextlib
import dataclasses
import smtplib
import subprocess

import pytest

from gateway.model.message import Notify, RecipientWish, Ret
from tests import certs
from tests.peers import exchange, haproxy, loopback, postfix, presence
from tests.unit.intake.intake_desk import (
    CA,
    IMPLICIT,
    OPEN,
    STARTTLS,
    client_context,
    proxied,
    running,
    settings,
)

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("extensions")]

ORDINARY = "Subject: Vergadering\n\nDonderdag om 10.00 uur.\n"


async def until(ready, within_s=60):
    """Wait for what a peer will do; the intake runs on meanwhile."""
    async with asyncio.timeout(within_s):
        while not ready():
            await asyncio.sleep(0.02)


# --- Postfix ----------------------------------------------------------------------------
@contextlib.contextmanager
def municipal(desk, **parameters):
    """A Postfix that relays everything to the intake, with STARTTLS."""
    relay = ("127.0.0.1", desk.port(STARTTLS))
    with postfix.sender("gem.nl", relay=relay, parameters=parameters) as server:
        yield server


async def sendmail(server, *arguments, text=ORDINARY):
    command = [presence.find("sendmail"), "-C", str(server.config_directory)]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "-f", "jan@gem.nl", *arguments],
        input=("From: jan@gem.nl\n" + text).encode(),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done


async def test_a26_postfix_hands_over_what_sendmail_asked_for(tmp_path):
    async with running(tmp_path) as desk:
        with municipal(desk) as server:
            await sendmail(
                server,
                *("-N", "success,delay", "-V", "Zaak+1=A", "-R", "hdrs"),
                *("Piet+kamer=2@B.nl", "kees@d.nl"),
            )
            await until(lambda: desk.messages)
            await sendmail(server, "-N", "never", "stil@b.nl")
            await until(lambda: len(desk.messages) == 2)
            await sendmail(server, "gewoon@b.nl")
            await until(lambda: len(desk.messages) == 3)
    first, second, third = (message.envelope for message in desk.messages)
    assert first.wish.ret is Ret.HDRS
    assert first.wish.envid == "Zaak+2B1+3DA"  # in xtext, as it came
    wish = first.recipient_wishes[first.recipients[0]]
    assert wish.notify == {Notify.SUCCESS, Notify.DELAY}
    assert wish.orcpt == "rfc822;Piet+2Bkamer+3D2@B.nl"
    assert len(first.recipient_wishes) == 2
    assert second.recipient_wishes[second.recipients[0]].notify == {Notify.NEVER}
    assert (
        third.recipient_wishes.get(third.recipients[0], RecipientWish()).notify is None
    )


async def test_a24_postfix_hands_over_utf8_with_smtputf8(tmp_path):
    async with running(tmp_path) as desk:
        with municipal(desk, smtputf8_enable="yes") as server:
            await sendmail(server, "用户@bücher.example", text="Subject: Zoë\n\nDag.\n")
            await until(lambda: desk.messages)
            await sendmail(server, "a@b.nl")
            await until(lambda: len(desk.messages) == 2)
    utf8, plain = desk.messages
    assert utf8.envelope.smtputf8 is True
    assert str(utf8.envelope.recipients[0]) == "用户@xn--bcher-kva.example"
    assert b" with UTF8SMTPS id id1" in utf8.octets
    assert "\tfor <用户@xn--bcher-kva.example>".encode() in utf8.octets
    assert "Subject: Zoë".encode() in utf8.octets
    assert plain.envelope.smtputf8 is False
    assert b" with ESMTPS id id2" in plain.octets


# --- smtplib ----------------------------------------------------------------------------
async def with_smtplib(desk, work):
    """`work(client)` with Python's client inside implicit TLS."""

    def run():
        with smtplib.SMTP_SSL(
            "127.0.0.1", desk.port(IMPLICIT), context=client_context(), timeout=30
        ) as client:
            client.ehlo()
            return work(client)

    return await asyncio.to_thread(run)


async def test_a35_requiretls_is_offered_in_tls_and_marks_the_message(tmp_path):
    def work(client):
        assert client.has_extn("requiretls")
        assert client.has_extn("dsn")
        assert client.has_extn("smtputf8")
        content = b"From: jan@gem.nl\r\nSubject: x\r\nTLS-Required: No\r\n\r\nx\r\n"
        client.sendmail("jan@gem.nl", ["a@b.nl"], content, ["REQUIRETLS"])
        return client.mail("jan@gem.nl", ["REQUIRETLS=1"])

    async with running(tmp_path) as desk:
        assert (await with_smtplib(desk, work))[0] == 501
    assert desk.messages[0].envelope.wish.requiretls is True


async def test_a24_header_with_eight_bits_needs_smtputf8(tmp_path):
    content = "From: jan@gem.nl\r\nSubject: Zoë\r\n\r\nx\r\n".encode()

    def work(client):
        client.sendmail("jan@gem.nl", ["a@b.nl"], content, ["SMTPUTF8"])
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail("jan@gem.nl", ["a@b.nl"], content, ["BODY=8BITMIME"])
        return caught.value

    async with running(tmp_path) as desk:
        refused = await with_smtplib(desk, work)
    assert refused.smtp_code == 553
    assert refused.smtp_error.startswith(b"5.6.7 ")
    assert len(desk.messages) == 1


# --- swaks ------------------------------------------------------------------------------
async def swaks(port, *options, host="127.0.0.1", sender="jan@gem.nl", to="a@b.nl"):
    """Run swaks; its exit status and transcript."""
    presence.need("swaks")
    process = await asyncio.create_subprocess_exec(
        presence.find("swaks"),
        *("--server", host, "--port", str(port), "--timeout", "30"),
        *("--from", sender, "--to", to, "--helo", "swaks.gem.nl"),
        *("--header", "Subject: x", "--header", "From: jan@gem.nl", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        transcript, _ = await process.communicate()
    return process.returncode, transcript.decode("utf-8", "replace")


async def test_a26_swaks_parameters_come_through_letter_for_letter(tmp_path):
    async with running(tmp_path) as desk:
        status, transcript = await swaks(
            desk.port(STARTTLS),
            "-tls",
            # swaks closes the path itself: ">" is then the last letter of a value.
            sender="jan@gem.nl> RET=HDRS ENVID=aBc+2B",
            to="a@b.nl> NOTIFY=SUCCESS ORCPT=rfc822;A+40b.NL",
        )
        refused, said = await swaks(
            desk.port(STARTTLS),
            "-tls",
            to="a@b.nl> NOTIFY=NEVER,SUCCESS ORCPT=rfc822;A",
        )
    assert status == 0, transcript
    assert refused != 0
    assert "501 5.5.4" in said
    envelope = desk.messages[0].envelope
    assert (envelope.wish.ret, envelope.wish.envid) == (Ret.HDRS, "aBc+2B>")
    assert list(envelope.recipient_wishes.values()) == [
        RecipientWish(frozenset({Notify.SUCCESS}), "rfc822;A+40b.NL>")
    ]


BALANCED = """
[[client]]
id = "mta"
municipality = "zwolle"
networks = ["203.0.113.7/32", "127.0.0.3/32"]
"""
V2 = ("--proxy-version", "2", "--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25")
SOURCE = ("--proxy-source", "203.0.113.7", "--proxy-source-port", "5000")
OVER_TCP = ("--proxy-family", "AF_INET", "--proxy-protocol", "STREAM")


async def test_a45_swaks_with_proxy_from_balancer_and_from_strangers(tmp_path):
    configuration = proxied(settings(BALANCED), "127.0.0.1/32")
    said = (*V2, *SOURCE, *OVER_TCP)
    async with running(tmp_path, configuration=configuration) as desk:
        for listener, tls in ((OPEN, ()), (STARTTLS, ("-tls",))):
            status, transcript = await swaks(desk.port(listener), *said, *tls)
            assert status == 0, transcript
        assert [peer.address for peer in desk.peers] == ["203.0.113.7"] * 2
        v1 = ("--proxy-version", "1", *V2[2:], *SOURCE)
        stranger = ("--local-interface", "127.0.0.9")
        for options in (
            (),  # the balancer without a header
            (*v1, "--proxy-family", "TCP4"),
            (*said, *stranger),
            (*v1, "--proxy-family", "TCP4", *stranger),
        ):
            status, transcript = await swaks(desk.port(OPEN), *options)
            assert status != 0, transcript
    assert len(desk.peers) == 2
    assert desk.ends()[:2] == [("proxy-refused", "proxy")] * 2


# --- HAProxy ----------------------------------------------------------------------------
async def test_a45_haproxy_names_the_client_and_its_checks_are_nobodys(tmp_path):
    address = loopback.claim()
    configuration = proxied(settings(BALANCED), f"{address}/32")
    async with running(tmp_path, configuration=configuration) as desk:
        fronts = [
            haproxy.Front("clear", desk.port(OPEN)),
            haproxy.Front("starttls", desk.port(STARTTLS)),
        ]
        with haproxy.run(fronts, address) as balancer:
            for name in balancer.ports:
                await until(lambda name=name: balancer.health(name) == "UP L7OK")
            for name, options in (("clear", ()), ("starttls", ("-tls",))):
                status, transcript = await swaks(
                    balancer.ports[name],
                    *("--local-interface", "127.0.0.3", *options),
                    host=address,
                )
                assert status == 0, transcript
                status, transcript = await swaks(
                    balancer.ports[name],
                    *("--local-interface", "127.0.0.4", *options),
                    host=address,
                )
                assert status != 0
                assert "not known here, relaying denied" in transcript
    assert [peer.address for peer in desk.peers] == ["127.0.0.3"] * 2
    checks = [fields for event, fields in desk.log if event == "intake-unknown-client"]
    assert len(checks) == 2  # the stranger; a check that asks for nothing is not told


async def test_a45_haproxy_before_implicit_tls(tmp_path):
    address = loopback.claim()
    configuration = proxied(settings(BALANCED), f"{address}/32")
    async with running(tmp_path, configuration=configuration) as desk:
        # TLS passes through the balancer, and so does its own check.
        front = haproxy.Front(
            "implicit",
            desk.port(IMPLICIT),
            server="send-proxy-v2 check-ssl verify none",
        )
        with haproxy.run([front], address) as balancer:
            await until(lambda: balancer.health("implicit") == "UP L7OK")
            status, transcript = await swaks(
                balancer.ports["implicit"],
                *("-tlsc", "--local-interface", "127.0.0.3"),
                host=address,
            )
            assert status == 0, transcript
    (peer,) = desk.peers
    assert peer.address == "127.0.0.3"
    assert peer.tls.version == "TLSv1.3"


async def test_a45_certificate_that_a_balancer_tells_of_is_not_believed(tmp_path):
    address = loopback.claim()
    credential = certs.issue(CA, ["mail.gem.nl"])
    files = credential.write(tmp_path, "client")
    server = certs.issue(CA, ["localhost"]).write(tmp_path, "balancer")
    (tmp_path / "ca.pem").write_bytes(CA.chain_pem)
    clients = """
[[client]]
id = "certified"
municipality = "zwolle"
certificate_names = ["mail.gem.nl"]
"""
    configuration = proxied(settings(clients), f"{address}/32")
    async with running(tmp_path, configuration=configuration, client_ca=CA) as desk:
        front = haproxy.Front(
            "ends-tls",
            desk.port(OPEN),
            bind=f"ssl crt {server.both} ca-file {tmp_path}/ca.pem verify required",
            server="send-proxy-v2-ssl-cn",
        )
        with haproxy.run([front], address) as balancer:
            status, transcript = await swaks(
                balancer.ports["ends-tls"],
                *("-tlsc", "--tls-cert", str(files.certificate)),
                *("--tls-key", str(files.key)),
                host=address,
            )
    assert status != 0
    assert "not known here, relaying denied" in transcript
    assert desk.peers == []


# --- shared services --------------------------------------------------------------------
SERVICE = "mail.protection.outlook.com"
TENANTS = {
    "zwolle": "3dd8961f-e488-4e60-8e11-a82d994e183d",
    "hattem": "335836de-42ef-43a2-b145-348c2ee9ca5b",
}
SHARED = "".join(
    f"""
[[client]]
id = "{name}-365"
municipality = "{name}"
certificate_names = ["{SERVICE}"]
tenant = {{ header = "X-MS-Exchange-CrossTenant-Id", value = "{tenant}" }}
"""
    for name, tenant in TENANTS.items()
)
# The order and spelling are those of mail that Exchange Online sent to public lists.
FIELDS = (
    "X-OriginatorOrg: {domain}\r\n"
    "X-MS-Exchange-CrossTenant-AuthAs: Internal\r\n"
    "X-MS-Exchange-CrossTenant-AuthSource: AM0PR04MB0001.eurprd04.prod.outlook.com\r\n"
    "X-MS-Exchange-CrossTenant-OriginalArrivalTime: 25 Nov 2026 10:00:00.0000\r\n"
    " (UTC)\r\n"
    "X-MS-Exchange-CrossTenant-FromEntityHeader: Hosted\r\n"
    "X-MS-Exchange-CrossTenant-Id: {tenant}\r\n"
    "X-MS-Exchange-CrossTenant-MailboxType: HOSTED\r\n"
    "X-MS-Exchange-Transport-CrossTenantHeadersStamped: AM0PR04MB0002\r\n"
)


def stamped(author, tenant, text="Subject: x\r\n\r\nDag.\r\n"):
    domain = author.rpartition("@")[2]
    fields = FIELDS.format(domain=domain, tenant=tenant)
    return f"From: {author}\r\n{fields}{text}".encode()


@dataclasses.dataclass
class Service:
    """Exchange Online, which many municipalities send with."""

    desk: object
    connector: exchange.Connector

    async def send(self, reverse_path, octets):
        said = await asyncio.to_thread(
            self.connector.send, reverse_path, ["a@b.nl"], octets
        )
        return said.final


@pytest.fixture
async def service(tmp_path):
    leaf = certs.issue(CA, [SERVICE, f"*.{SERVICE}", "outlook.com"])
    files = leaf.write(tmp_path, "service")
    async with running(tmp_path, configuration=settings(SHARED), client_ca=CA) as desk:
        server = ("127.0.0.1", desk.port(STARTTLS))
        fqdn = "AM0PR04CU001.outbound.protection.outlook.com"
        yield Service(desk, exchange.connector(server, "localhost", CA, fqdn, files))


async def test_a34_service_sends_for_each_municipality_by_its_tenant(service):
    for name, author in (("zwolle", "jan@gem.nl"), ("hattem", "jan@hattem.example")):
        final = await service.send(author, stamped(author, TENANTS[name]))
        assert final.startswith("250 2.0.0"), final
        peer = service.desk.peers[-1]
        assert (peer.municipality, peer.client) == (name, f"{name}-365")


async def test_a34_automatic_reply_is_of_whom_the_header_names(service):
    for name, author in (("zwolle", "jan@gem.nl"), ("hattem", "jan@hattem.example")):
        reply = exchange.OUT_OF_OFFICE.format(subject="x", author=author) + "Weg.\r\n"
        final = await service.send("", stamped(author, TENANTS[name], reply))
        assert final.startswith("250 2.0.0"), final
        assert service.desk.peers[-1].municipality == name


async def test_a34_another_customer_of_the_service_sends_for_nobody_here(service):
    good, foreign = TENANTS["zwolle"], "43083d15-7273-40c1-b7db-39efd9ccc17a"
    forged = f"X-MS-Exchange-CrossTenant-Id: {good}\r\n".encode()
    for reverse_path, octets in (
        ("jan@gem.nl", stamped("jan@gem.nl", foreign)),
        ("jan@gem.nl", stamped("jan@gem.nl", TENANTS["hattem"])),
        ("jan@gem.nl", stamped("jan@gem.nl", good.upper())),
        ("jan@gem.nl", forged + stamped("jan@gem.nl", foreign)),
        ("jan@gem.nl", b"From: jan@gem.nl\r\nSubject: x\r\n\r\n" + forged),
        ("", stamped("jan@gem.nl", foreign)),
        ("", forged + stamped("jan@gem.nl", TENANTS["hattem"])),
    ):
        final = await service.send(reverse_path, octets)
        assert final.startswith("550-5.7.1 K201 Bericht geweigerd"), octets
        assert "550-5.7.1 K201 Message refused" in final
        assert "tenant" in final
    assert service.desk.messages == []


async def test_a34_no_certificate_no_service(service, tmp_path):
    bare = dataclasses.replace(service.connector, context=client_context())
    wild = certs.issue(CA, [f"*.{SERVICE.partition('.')[2]}"]).write(tmp_path, "wild")
    for connector in (
        bare,
        dataclasses.replace(bare, context=client_context(wild)),
    ):
        octets = stamped("jan@gem.nl", TENANTS["zwolle"])
        said = await asyncio.to_thread(connector.send, "jan@gem.nl", ["a@b.nl"], octets)
        assert any("relaying denied" in reply for reply in said.replies)
    assert service.desk.messages == []
