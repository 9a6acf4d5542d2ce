"""Sessions at the command line, in both languages: what people and programs read.

`tests/golden/cli/` has each session as it was approved; what differs from run to run is
masked. After a change on purpose: `KETENMAIL_GOLDEN=write pytest tests/golden/test_cli.py`,
and read the difference before it is committed.
"""

import asyncio
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from gateway import app, clock, relay
from gateway.cli import root
from gateway.model.address import Mailbox, ReversePath
from gateway.model.ids import ClientId, MessageId, MunicipalityId
from gateway.model.message import Envelope, Message
from gateway.model.peer import Identification, Peer
from gateway.store.evidence import SqlEvidence
from tests import certs
from tests.peers import daemon, loopback, presence

FOLDER = pathlib.Path(__file__).parent / "cli"
HOST = "ketenmail.gemeente.test"
CASE = (
    "Hierbij de crisismaatregel (art. 7:1 Wvggz) voor betrokkene, geboren 03-04-1981,"
    " BSN 999994669, met de medische verklaring van de psychiater."
)
PARTNERS = """\
municipality = "gemeente"

[[partner]]
id = "ggz"
name = "GGZ Voorbeeld"
roles = ["geneesheer_directeur", "zorgaanbieder"]
domains = ["ggz.test"]
state = "verified"
verified_on = 2026-11-01
valid_until = 2099-12-31
[partner.route]
method = "fixed"
host = "127.0.0.1"
port = 2500
pins = ["{pin}"]
[[partner.mailbox]]
address = "crisis@ggz.test"
regimes = ["wvggz"]

[[partner]]
id = "pi"
name = "PI Voorbeeld"
roles = ["pi_directeur"]
domains = ["pi.test"]
state = "suspended"
[partner.route]
method = "fixed"
host = "127.0.0.1"
port = 2500
pins = ["{pin}"]
"""

# In the order in which they are needed: a later pattern sees what an earlier one left.
MASKS = (
    (r"\n(?:U bent root|You are root)[^\n]*\n", "\n"),
    (r"(?:U bent|You are) \w+\. ", "<you>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "<instant>"),
    (r"SHA256:[0-9a-f]{64}", "<fingerprint>"),
    (r"\b(?!(?:ab){32}|0{64})[0-9a-f]{64}\b", "<digest>"),
    (r"\b[0-9a-hjkmnp-tv-z]{26}\b", "<reference>"),
    (
        r"gemeente\.test/(\w+)\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}",
        r"gemeente.test/\1+<key>",
    ),
    (r"\b[0-9a-f]{12}\b", "<digest>"),
    (r"\b\d+ MiB", "<size> MiB"),
    (r"ketenmail \d+\.\d+\.\d+\S*", "ketenmail <version>"),
    (r"(Python|SQLite) \d+\.\d+\.\d+", r"\1 <version>"),
    (r"OpenSSL [^\n\"]*? \(", "OpenSSL <version> ("),
    (r"\"ms\": [\d.]+", '"ms": <ms>'),
    (r"\bos-user:\w+", "os-user:<user>"),
    (r"(size_octets): \S+", r"\1: <number>"),
)


class Terminal:
    """Types commands and keeps what came of them, masked."""

    def __init__(self, folder: pathlib.Path, capsys, language: str) -> None:
        self.folder = folder
        self.capsys = capsys
        self.language = language
        self.session: list[str] = []

    def type(self, words: str, status: int) -> str:
        """Run one verb; answers its standard output."""
        settings = ["--config", str(self.folder / "gateway.toml")]
        filled = words.format(folder=self.folder)
        arguments = ["--lang", self.language, *settings, *shlex.split(filled)]
        got = root.run(arguments)
        said = self.capsys.readouterr()
        self.session.append(
            self.masked(f"$ ketenmail {filled}\n{said.out}{said.err}[{got}]\n")
        )
        assert got == status, said
        return said.out

    def masked(self, text: str) -> str:
        text = text.replace(str(self.folder), "<folder>")
        for pattern, instead in MASKS:
            text = re.sub(pattern, instead, text)
        text = text.replace(clock.now().date().isoformat(), "<today>")
        # Columns are as wide as what was masked.
        return re.sub(r"(?<=\S) {2,}(?=\S)", "  ", text)

    def compare(self, name: str) -> None:
        """With what was approved."""
        path = FOLDER / f"{name}.{self.language}.txt"
        text = "\n".join(self.session)
        if os.environ.get("KETENMAIL_GOLDEN") == "write":
            path.write_text(text, "utf-8")
        assert text == path.read_text("utf-8")


@pytest.fixture(params=["nl", "en"])
def terminal(request, tmp_path, capsys) -> Terminal:
    return Terminal(tmp_path, capsys, request.param)


def fill_in(folder: pathlib.Path, address: str) -> None:
    """Do what `init` says is to be done."""
    files = certs.self_signed([HOST], not_after=_in_a_year()).write(
        folder / "tls", "gateway"
    )
    files.key.chmod(0o400)
    path = folder / "gateway.toml"
    text = path.read_text("utf-8")
    for example, ours in (
        ('id = "voorbeeldstad"', 'id = "gemeente"'),
        ('municipality = "voorbeeldstad"', 'municipality = "gemeente"'),
        ("Gemeente Voorbeeldstad", "Gemeente Voorbeeld"),
        ("voorbeeldstad.example", "gemeente.test"),
        ("0" * 64, "ab" * 32),
        ('address = "127.0.0.1"', f'address = "{address}"'),
        ("port = 53\n", "port = 53\nself_test = false\n"),
    ):
        assert example in text
        text = text.replace(example, ours)
    path.write_text(text, "utf-8")


def _in_a_year():
    import datetime

    return clock.now() + datetime.timedelta(days=365)


def installed(terminal: Terminal) -> Terminal:
    """A finished installation, of which nothing was recorded yet."""
    terminal.type(f"init --hostname {HOST}", 0)
    fill_in(terminal.folder, "127.0.0.254")
    terminal.type("init", 0)
    (terminal.folder / "partners.toml").write_text(
        PARTNERS.replace("{pin}", "ab" * 32), "utf-8"
    )
    terminal.session.clear()
    return terminal


def receive(terminal: Terminal, to: str, body: str) -> str:
    """Hand one message to the gateway's own code; answers our reference."""
    message = clock.new_id()

    async def work(installation: app.Installation) -> None:
        municipality = MunicipalityId("gemeente")
        owner = installation.config.municipalities[municipality]
        peer = Peer(
            address="127.0.0.1",
            helo="mail.gemeente.test",
            extended=True,
            tls=None,
            client=ClientId("voorbeeldstad-mail"),
            municipality=municipality,
            sender_domains=owner.sender_domains,
            identified_by=Identification.NETWORK,
        )
        sender = Mailbox.parse("j.devries@gemeente.test")
        envelope = Envelope(ReversePath(sender), (Mailbox.parse(to),))
        octets = (
            f"From: {sender}\r\nTo: {to}\r\nSubject: Zaak\r\n\r\n{body}\r\n"
        ).encode()
        await relay.receive(
            Message(MessageId(message), envelope, octets, clock.now()),
            peer,
            app.make_house(installation),
        )
        evidence = SqlEvidence(installation.store, "test")
        for origin in await evidence.origins():
            await evidence.integrate(origin, clock.now(), 100)
            await evidence.sign(origin, installation.keys.signer(origin), clock.now())
        await evidence.release()

    with app.opened(str(terminal.folder / "gateway.toml")) as installation:
        asyncio.run(work(installation))
    return message


# --- sessions -------------------------------------------------------------------------
def test_a_new_administrator_installs_and_checks(terminal):
    terminal.type("config check", 2)
    terminal.type(f"init --hostname {HOST}", 0)
    terminal.type("config check", 1)
    terminal.type("config check --json", 1)
    fill_in(terminal.folder, "127.0.0.254")
    terminal.type("config check", 0)
    terminal.type("doctor", 1)
    terminal.type("init", 0)
    terminal.type("doctor", 0)
    terminal.type("config show", 0)
    terminal.compare("install")


def test_partners_are_registered_and_looked_at(terminal):
    installed(terminal)
    terminal.type("partners list", 0)
    terminal.type("partners apply {folder}/partners.toml --dry-run", 0)
    terminal.type("partners apply {folder}/partners.toml", 0)
    terminal.type("partners apply {folder}/partners.toml", 0)
    terminal.type("partners list", 0)
    terminal.type("partners show ggz", 0)
    terminal.type("partners show nobody", 1)
    path = terminal.folder / "partners.toml"
    text = path.read_text("utf-8")
    path.write_text(text.replace('state = "suspended"', 'state = "ended"'), "utf-8")
    terminal.type("partners apply {folder}/partners.toml --json", 0)
    path.write_text(text.replace('roles = ["pi_directeur"]', 'roles = ["directeur"]'))
    terminal.type("partners apply {folder}/partners.toml", 2)
    path.write_text(text.replace('["wvggz"]', '["wvgz"]'), "utf-8")
    terminal.type("partners apply {folder}/partners.toml", 2)
    path.write_text(text + "[[partner", "utf-8")
    terminal.type("partners apply {folder}/partners.toml", 2)
    terminal.type("partners apply {folder}/none.toml", 2)
    terminal.type("route explain crisis@ggz.test --regime wvggz", 1)
    with (terminal.folder / "gateway.toml").open("a", encoding="utf-8") as settings:
        settings.write('[[net.allow_ranges]]\nrange = "127.0.0.1/32"\nports = [2500]\n')
    terminal.type("config check", 0)
    terminal.type("route explain crisis@ggz.test --regime wvggz", 0)
    terminal.type("route explain info@pi.test --regime pbw18b", 1)
    terminal.type("route explain crisis@gzz.test --regime wvggz", 1)
    terminal.type("route explain crisis@gzz.test --regime wvggz --json", 1)
    terminal.type("route explain nowhere", 2)
    terminal.type("route explain crisis@ggz.test --regime wvgz", 2)
    terminal.type("route explain crisis@ggz.test --municipality elsewhere", 2)
    terminal.compare("partners")


def test_messages_are_classified_followed_and_proven(terminal):
    installed(terminal)
    folder = terminal.folder
    head = "From: a@gemeente.test\nTo: b@ggz.test\nSubject: Zaak\n\n"
    (folder / "case.eml").write_text(f"{head}{CASE}\n", "utf-8")
    (folder / "lunch.eml").write_text(f"{head}Lunch om 12.00 uur?\n", "utf-8")
    terminal.type("classify {folder}/lunch.eml --explain", 0)
    terminal.type("classify {folder}/case.eml {folder}/lunch.eml --explain", 1)
    terminal.type("classify {folder}/case.eml --json", 1)
    terminal.type("classify {folder}/none.eml", 2)
    terminal.type("classify {folder}", 2)
    terminal.type("queue list", 0)
    terminal.type("evidence export {folder}/bundle.zip", 1)
    terminal.type("partners apply {folder}/partners.toml", 0)
    case = receive(terminal, "crisis@ggz.test", CASE)
    refused = receive(terminal, "crisis@gzz.test", CASE)
    terminal.type("queue list", 0)
    terminal.type("queue list --json", 0)
    terminal.type(f"message trace {case}", 0)
    terminal.type(f"message trace {refused}", 0)
    terminal.type("message trace 00000000000000000000000000", 1)
    terminal.type("message trace 00000000000000000000000000 --json", 1)
    terminal.type("evidence export {folder}/bundle.zip", 0)
    terminal.type("evidence export {folder}/one.zip --sealed --message " + case, 0)
    terminal.type("evidence export {folder}/none/bundle.zip", 2)
    terminal.type("evidence export {folder}/bundle.zip --municipality elsewhere", 2)
    terminal.type("evidence export {folder}/b.zip --message nothing", 1)
    key = terminal.type("evidence key", 0)
    (folder / "log.pub").write_text(key, "utf-8")
    terminal.type("evidence key --municipality _gateway --json", 0)
    terminal.type("evidence verify {folder}/bundle.zip --key {folder}/log.pub", 0)
    terminal.type(f"evidence verify {{folder}}/one.zip --key {key.strip()}", 0)
    terminal.type("evidence verify {folder}/one.zip --json --key {folder}/log.pub", 0)
    terminal.type("evidence verify {folder}/bundle.zip", 1)
    other = terminal.type("evidence key --municipality _gateway", 0).strip()
    terminal.type(f"evidence verify {{folder}}/bundle.zip --key {other}", 1)
    terminal.type("evidence verify {folder}/bundle.zip --key rubbish", 2)
    terminal.type("evidence verify {folder}/case.eml --key {folder}/log.pub", 1)
    terminal.type("evidence verify {folder}/none.zip", 2)
    terminal.compare("messages")


def test_the_policy_is_tried_on_files_of_mail(terminal):
    """R3: what would be stopped, and by which rules; nothing is sent or kept."""
    installed(terminal)
    folder = terminal.folder
    terminal.type("partners apply {folder}/partners.toml", 0)
    head = "From: J <j@gemeente.test>\nSubject: Zaak\n"
    case = f"{head}To: crisis@ggz.test, info@onbekend.test\n\n{CASE}\n"
    lunch = f"{head}To: info@onbekend.test\n\nLunch om 12.00 uur?\n"
    incoming = "From: x@buiten.test\nTo: j@gemeente.test\n\nHallo\n"
    hidden = f"{head}To: undisclosed-recipients:;\n\nHallo\n"
    start = "From j@gemeente.test Wed Nov 25 10:00:00 2026\n"
    mbox = "\n".join(start + each for each in (case, lunch, incoming, hidden))
    (folder / "sent").write_text(f"{mbox}\n", "utf-8")
    (folder / "lunch.eml").write_text(lunch, "utf-8")
    terminal.type("policy report --days 1", 0)
    terminal.type("shadow {folder}/lunch.eml", 0)
    terminal.type("shadow {folder}/sent {folder}/lunch.eml", 1)
    terminal.type("policy report --days 1", 0)
    terminal.type("shadow {folder}/sent --count", 1)
    terminal.type("shadow {folder}/lunch.eml --count --json", 0)
    terminal.type("policy report --days 1", 0)
    terminal.type("policy report --days 1 --json", 0)
    terminal.type("shadow {folder}/lunch.eml {folder}/none.eml --count", 2)
    terminal.type("shadow {folder}/lunch.eml --municipality elsewhere", 2)
    terminal.type("policy report --municipality elsewhere", 2)
    terminal.type("policy report --days 0", 2)
    terminal.type("queue list", 0)
    terminal.compare("shadow")


def test_mistakes_in_settings_and_keys_are_explained(terminal):
    installed(terminal)
    path = terminal.folder / "gateway.toml"
    good = path.read_text("utf-8")
    for wrong, right in (
        ("hostnaam =", "hostname ="),
        ("hostname ", "hostname = "),
        ('workers = "two"', "workers = 2"),
        ('unreadable = "keep"', 'unreadable = "hold"'),
        ('municipality = "elders"', 'municipality = "gemeente"'),
        ('networks = ["0.0.0.0/0"]', 'networks = ["127.0.0.1/32"]'),
    ):
        assert right in good
        path.write_text(good.replace(right, wrong, 1), "utf-8")
        terminal.type("config check", 2)
    terminal.type("doctor --json", 1)
    path.write_text(good, "utf-8")
    (terminal.folder / "master.key").chmod(0o644)
    terminal.type("queue list", 2)
    terminal.type("serve", 2)
    terminal.type("queue list --json", 2)
    (terminal.folder / "master.key").chmod(0o400)
    (terminal.folder / "tls" / "gateway.crt").rename(terminal.folder / "elsewhere.crt")
    terminal.type("serve", 2)
    (terminal.folder / "elsewhere.crt").rename(terminal.folder / "tls" / "gateway.crt")
    (terminal.folder / "state" / "ketenmail.db").unlink()
    terminal.type("queue list", 2)
    terminal.type("doctor", 1)
    terminal.type("init", 3)
    (terminal.folder / "demo").mkdir()
    (terminal.folder / "demo" / "mine.txt").touch()
    terminal.type("demo --folder {folder}/demo", 2)
    terminal.compare("mistakes")


# --- as processes ---------------------------------------------------------------------
def command(terminal: Terminal, *words: str) -> list[str]:
    start = [sys.executable, "-m", "gateway", "--lang", terminal.language]
    return [*start, "--config", str(terminal.folder / "gateway.toml"), *words]


@pytest.fixture
def dutch(tmp_path, capsys) -> Terminal:
    return installed(Terminal(tmp_path, capsys, "nl"))


def test_what_init_makes_is_for_the_gateway_only(dutch):
    modes = {
        str(path.relative_to(dutch.folder)): path.stat().st_mode & 0o777
        for path in dutch.folder.rglob("*")
        if path.relative_to(dutch.folder).parts[0] not in {"tls", "partners.toml"}
    }
    assert modes.pop("gateway.toml") == 0o640
    assert modes.pop("master.key") == 0o400
    for name in ("keys", "keys/epoch", "keys/log", "state"):
        assert modes.pop(name) == 0o700
    public = {name for name in modes if name.endswith(".pub")}
    assert len(public) == 3  # of the example's name, too: init was run before and after
    for name, mode in modes.items():
        assert mode & 0o077 == (0o044 if name in public else 0), name


def test_a_user_without_rights_is_told_whose_the_files_are(dutch):
    """Root passes over rights, so the capability to do so is dropped."""
    presence.need("setpriv", as_root=False)
    (dutch.folder / "master.key").chmod(0o000)
    dropped = "-dac_override,-dac_read_search"
    guard = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    words = [*(guard if os.geteuid() == 0 else []), *command(dutch, "queue", "list")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert "runuser -u ketenmail" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(dutch):
    shell = f"set -o pipefail; {shlex.join(command(dutch, 'config', 'show'))} | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.stdout.startswith("gateway.hostname")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def running(dutch):
    """The gateway of this folder, on a port that is free."""
    address = loopback.claim()
    path = dutch.folder / "gateway.toml"
    text = path.read_text("utf-8").replace("127.0.0.254", address)
    path.write_text(text.replace("port = 25\n", "port = 2525\n", 1), "utf-8")
    serving = daemon.Daemon(command(dutch, "serve"), dutch.folder / "serve.log")
    try:
        loopback.wait_until_open(address, 2525, 30)
        yield dutch, serving
    finally:
        serving.stop()


def test_doctor_sees_the_gateway_run_and_a_second_one_is_refused(running):
    dutch, _ = running
    found = json.loads(dutch.type("doctor --json", 0))
    (gateway,) = [one for one in found if one["subject"] == "running"]
    assert (gateway["level"], gateway["detail"]) == ("ok", "neemt mail aan")
    second = subprocess.run(command(dutch, "serve"), capture_output=True, text=True)
    assert second.returncode == 2
    assert "deze poort is bezet" in second.stderr
    assert "listener[1] 127.0." in second.stderr


def test_a_reload_that_cannot_be_is_explained_and_changes_nothing(running):
    dutch, serving = running
    key = dutch.folder / "tls" / "gateway.key"
    key.rename(dutch.folder / "elsewhere")
    os.kill(serving.pid, daemon.signal.SIGHUP)
    log = dutch.folder / "serve.log"
    assert daemon.until(lambda: '"status": "refused"' in log.read_text("utf-8"))
    assert "listener[1].key\n" in log.read_text("utf-8")
    assert f" {key}: bestaat niet\n" in log.read_text("utf-8")
    found = json.loads(dutch.type("doctor --json", 1))
    assert [one["level"] for one in found if one["subject"] == "running"] == ["ok"]
