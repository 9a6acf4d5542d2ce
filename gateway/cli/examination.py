"""What `doctor` looks at: each look gives findings, whatever it meets.

`config check` and `init` share two of the looks: what is still to be filled in, and the
certificates of the listeners.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import pathlib
import shutil
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gateway import clock
from gateway.cli import fault
from gateway.cli.output import Speaker
from gateway.config import Config
from gateway.model.errors import ConfigError, TemporaryFailure
from gateway.parties import Listener, ListenerTls

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from gateway.app import Installation

_LEAST_FREE = 1024 * 1024 * 1024
_SOON = datetime.timedelta(days=30)
_EXAMPLE_PIN = "0" * 64
_EXAMPLE = ".example"  # RFC 2606: no such name exists
_ANSWERS_WITHIN_S = 3.0
_OLD_SIGNATURES = datetime.timedelta(days=3)  # freshclam asks several times a day


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One look: level `ok`, `warn` or `fail`; in the reader's language."""

    level: str
    subject: str  # for programs: always the same word
    where: str
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Its fields, for `--json`."""
        return dataclasses.asdict(self)


class Desk:
    """Makes findings about one subject from the texts."""

    def __init__(self, speaker: Speaker, subject: str) -> None:
        self._speaker = speaker
        self._subject = subject

    def good(self, detail: str, where: str = "") -> Finding:
        """All is well."""
        return Finding("ok", self._subject, where or self._name(), detail)

    def bad(self, level: str, key: str, where: str = "", **values: object) -> Finding:
        """`doctor.<key>.detail` and `.remedy`; the place is that of the subject."""
        return Finding(
            level,
            self._subject,
            where or self._name(),
            self._speaker.word(f"doctor.{key}.detail", **values),
            self._speaker.word(f"doctor.{key}.remedy", **values),
        )

    def word(self, key: str, **values: object) -> str:
        """A sentence `doctor.<key>`."""
        return self._speaker.word(f"doctor.{key}", **values)

    def _name(self) -> str:
        return self._speaker.word(f"subject.{self._subject}")


def examine(speaker: Speaker) -> list[Finding]:
    """Look at everything, in the order in which one would mend it."""
    from gateway import app

    findings = _guarded(speaker, "software", lambda: _software(speaker))
    try:
        config = app.load_config(speaker.config_path)
        policy = app.load_policy(config)
        app.load_hashes(config.clients)
    except ConfigError as error:
        return [*findings, _of_error(speaker, "config", error)]
    desk = Desk(speaker, "config")
    findings.append(desk.good(f"{speaker.config_path} ({config.digest[:12]})"))
    findings.append(Desk(speaker, "policy").good(policy.digest[:12]))
    looks: dict[str, Callable[[Speaker, Config], Iterator[Finding]]] = {
        "config": to_be_filled_in,
        "ranges": look_at_ranges,
        "disk": _look_at_disk,
        "store": _look_at_store,
        "resolver": _look_at_resolver,
        "malware": _look_at_scanner,
        "running": _look_whether_it_runs,
    }
    for subject, look in looks.items():
        findings += _guarded(speaker, subject, lambda look=look: look(speaker, config))  # type: ignore[misc]
    return findings


def _guarded(
    speaker: Speaker, subject: str, look: Callable[[], Iterator[Finding]]
) -> list[Finding]:
    """What a look finds; when it cannot look, that is a finding."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except Exception as error:  # noqa: BLE001 - a doctor does not faint
        found.append(_of_error(speaker, subject, error))
    return found


def _of_error(speaker: Speaker, subject: str, error: Exception) -> Finding:
    told = fault.describe(speaker, error)
    detail = told.problem or told.heading
    return Finding("fail", subject, told.place, detail, told.remedy)


def _software(speaker: Speaker) -> Iterator[Finding]:
    from cryptography.hazmat.backends.openssl import backend
    from pysqlite3 import dbapi2

    from gateway import VERSION
    from gateway.store.engine import check_library

    desk = Desk(speaker, "software")
    yield desk.good(f"ketenmail {VERSION}, Python {sys.version.split()[0]}")
    yield desk.good(f"{ssl.OPENSSL_VERSION} (TLS)")
    yield desk.good(f"{backend.openssl_version_text()} (cryptography)")
    check_library()
    yield desk.good(f"SQLite {dbapi2.sqlite_version}")


def to_be_filled_in(speaker: Speaker, config: Config) -> Iterator[Finding]:
    """What only the administrator can know, and is still as in the example."""
    desk = Desk(speaker, "config")
    if config.hostname.name.endswith(_EXAMPLE):
        name = config.hostname.name
        yield desk.bad("warn", "example_host", "gateway.hostname", name=name)
    for number, owner in enumerate(config.municipalities.values(), 1):
        place = f"municipality[{number}]"
        if any(domain.name.endswith(_EXAMPLE) for domain in owner.sender_domains):
            yield desk.bad("warn", "example_municipality", place, name=owner.name)
        if any(pin.spki_sha256 == _EXAMPLE_PIN for pin in owner.route.pins):
            yield desk.bad("fail", "example_pin", f"{place}.route.pins")
        for key in ("alternative_person", "alternative_unknown"):
            if getattr(owner, key) is None:
                yield desk.bad("warn", "no_alternative", f"{place}.{key}")
    yield from look_at_certificates(speaker, config)


def look_at_ranges(speaker: Speaker, config: Config) -> Iterator[Finding]:
    """Address ranges that are open against the rule (R20)."""
    desk = Desk(speaker, "ranges")
    for number, item in enumerate(config.allow_ranges, 1):
        ports = ", ".join(map(str, sorted(item.ports)))
        place = f"net.allow_ranges[{number}]"
        yield desk.bad("warn", "open_range", place, network=item.network, ports=ports)


def look_at_certificates(speaker: Speaker, config: Config) -> Iterator[Finding]:
    """Certificate and key of each listener, as the workers will load them."""
    desk = Desk(speaker, "certificate")
    for number, listener in enumerate(config.listeners, 1):
        place = f"listener[{number}]"
        try:
            yield from _look_at_certificate(desk, place, listener, config)
        except OSError as error:  # ssl.SSLError is one
            if isinstance(error, ssl.SSLError):
                why = error.reason or "PEM"
                yield desk.bad("fail", "certificate_unfit", place, why=why)
                continue
            told = fault.describe(speaker, error)
            key = "certificate" if told.place == listener.certificate else "key"
            detail = f"{told.place}: {told.problem}"
            remedy = desk.word("no_certificate")
            where = f"{place}.{key}"
            yield Finding("fail", "certificate", where, detail, remedy)


def _look_at_certificate(
    desk: Desk, place: str, listener: Listener, config: Config
) -> Iterator[Finding]:
    from cryptography import x509

    pem = pathlib.Path(listener.certificate).read_bytes()
    mode = pathlib.Path(listener.key).stat().st_mode
    if mode & stat.S_IRWXO:
        yield desk.bad("fail", "key_open", f"{place}.key", path=listener.key)
        return
    pathlib.Path(listener.key).read_bytes()  # ssl does not say which file it misses
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(listener.certificate, listener.key, lambda: b"")
    if listener.client_ca is not None:
        context.load_verify_locations(listener.client_ca)
    certificate = x509.load_pem_x509_certificate(pem)
    left = certificate.not_valid_after_utc - clock.now()
    days, where = left.days, f"{place}.certificate"
    if left < datetime.timedelta(0):
        yield desk.bad("fail", "certificate_over", where, days=-days)
    elif left < _SOON:
        yield desk.bad("warn", "certificate_soon", where, days=days)
    else:
        yield desk.good(desk.word("certificate_days", days=days), where)
    if not _vouches_for(certificate, config.hostname.name):
        name = config.hostname.name
        yield desk.bad("warn", "certificate_name", where, name=name)


def _vouches_for(certificate: "Certificate", name: str) -> bool:
    """Whether a client that asks for our name will believe this certificate."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        return False
    parent = name.partition(".")[2]
    return any(found.lower() in {name, f"*.{parent}"} for found in names)


def _look_at_disk(speaker: Speaker, config: Config) -> Iterator[Finding]:
    desk = Desk(speaker, "disk")
    free = shutil.disk_usage(config.state_dir).free
    size, mark = free // 2**20, config.limits.disk_free_octets
    if free > max(_LEAST_FREE, mark):
        yield desk.good(desk.word("disk_free", size=size))
    else:
        where = config.state_dir
        yield desk.bad("fail", "disk_low", where, size=size, mark=mark // 2**20)


def _look_at_store(speaker: Speaker, config: Config) -> Iterator[Finding]:
    """Keys, database, queue and evidence."""
    from gateway import app

    desk = Desk(speaker, "keys")
    if pathlib.Path(config.key_dir).stat().st_mode & 0o077:
        yield desk.bad("fail", "keys_open", "keys.directory", path=config.key_dir)
    with contextlib.closing(app.Installation.open(config)) as installation:
        yield desk.good(config.key_dir)
        for owner in (*config.municipalities, app.GATEWAY_LOG):
            installation.keys.signer(app.log_origin(config, owner))
        yield Desk(speaker, "store").good(config.store_url)
        yield from _look_at_queue(speaker, installation)
        yield from _look_at_partners(speaker, installation)
        yield from _look_at_evidence(speaker, installation)


def _look_at_queue(speaker: Speaker, installation: "Installation") -> Iterator[Finding]:
    from gateway.model.job import JobState
    from gateway.store.queue import SqlQueue

    desk = Desk(speaker, "queue")
    counts = asyncio.run(SqlQueue(installation.store).counts())
    held = counts[JobState.HELD]
    waiting = sum(counts.values()) - held - counts[JobState.DONE]
    yield desk.good(desk.word("queue", waiting=waiting, held=held))


def _look_at_partners(
    speaker: Speaker, installation: "Installation"
) -> Iterator[Finding]:
    from gateway.store.partners import SqlPartners

    desk = Desk(speaker, "partners")
    registered = asyncio.run(SqlPartners(installation.store).list_all())
    if registered:
        yield desk.good(desk.word("partners", count=len(registered)))
    else:
        yield desk.bad("warn", "no_partners")


def _look_at_evidence(
    speaker: Speaker, installation: "Installation"
) -> Iterator[Finding]:
    from gateway.store.evidence import SqlEvidence

    desk = Desk(speaker, "evidence")
    evidence = SqlEvidence(installation.store, "doctor")
    for origin in asyncio.run(evidence.origins()):
        latest = asyncio.run(evidence.latest_checkpoint(origin))
        if latest is None:
            yield desk.bad("warn", "unsigned", origin)
        elif latest.at > clock.now():
            at = latest.at.isoformat()
            yield desk.bad("fail", "clock_behind", origin, at=at)
        else:
            at = latest.at.isoformat(timespec="seconds")
            yield desk.good(desk.word("signed", size=latest.size, at=at), origin)


def _look_at_resolver(speaker: Speaker, config: Config) -> Iterator[Finding]:
    from gateway import app

    desk = Desk(speaker, "resolver")
    if not config.dns.self_test:
        yield desk.bad("warn", "resolver_untested", "dns.self_test")
        return
    stub, _ = app.make_resolver(config)
    where = f"{config.dns.resolver}:{config.dns.port}"
    try:
        asyncio.run(stub.self_test())
    except TemporaryFailure as error:
        why = str(error).rpartition(": ")[2]
        yield desk.bad("fail", "resolver_silent", f"dns.resolver {where}", why=why)
        return
    yield desk.good(desk.word("resolver", where=where))


def _look_at_scanner(speaker: Speaker, config: Config) -> Iterator[Finding]:
    """Whether clamd answers, and of when its signatures are (R18)."""
    from gateway.scan.clamd import ClamdScanner, signed_at

    settings, desk = config.malware, Desk(speaker, "malware")
    if settings is None:
        return
    place = settings.socket or f"{settings.address}:{settings.port}"
    where = f"malware {place}"
    quick = dataclasses.replace(settings, timeout_s=int(_ANSWERS_WITHIN_S))
    scanner = ClamdScanner(quick, lambda *_, **__: None)
    version = asyncio.run(scanner.version())
    if version is None or not asyncio.run(scanner.answers()):
        yield desk.bad("fail", "scanner_silent", where)
        return
    yield desk.good(version.partition("/")[0], where)
    at = signed_at(version)
    if at is None:
        yield desk.bad("warn", "signatures_unknown", where)
    elif clock.now() - at > _OLD_SIGNATURES:
        days = (clock.now() - at).days
        yield desk.bad("fail", "signatures_old", where, days=days)
    else:
        yield desk.good(desk.word("signatures", at=at.date().isoformat()), where)


def _look_whether_it_runs(speaker: Speaker, config: Config) -> Iterator[Finding]:
    """Whether the listeners answer as a mail server does."""
    desk = Desk(speaker, "running")
    for listener in config.listeners:
        where = f"{listener.address}:{listener.port}"
        answer = _greeting(listener)
        if answer == "":
            yield desk.bad("warn", "not_running", where, path=speaker.config_path)
        elif answer.startswith(f"220 {config.hostname.name}"):
            yield desk.good(desk.word("running"), where)
        else:
            yield desk.bad("warn", "another", where)


def _greeting(listener: Listener) -> str:
    """The first line of a listener; empty when nothing answers."""
    where = (listener.address, listener.port)
    try:
        connection = socket.create_connection(where, _ANSWERS_WITHIN_S)
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if listener.tls is ListenerTls.IMPLICIT:
                # Ours when it shows the certificate of the settings, whatever its name.
                context = ssl.create_default_context(cafile=listener.certificate)
                context.check_hostname = False
                context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
                connection = context.wrap_socket(connection)
                stack.callback(connection.close)
            return connection.recv(512).decode("ascii", "replace")
    except OSError:  # ssl.SSLError and time-outs are some
        return ""
