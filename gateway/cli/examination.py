"""What `doctor` looks at: each look gives a finding, whatever it meets."""

import asyncio
import dataclasses
import pathlib
import shutil
import ssl
import sys
from collections.abc import Callable, Iterator

from gateway.config import Config
from gateway.model.errors import ConfigError, GatewayError

_LEAST_FREE = 1024 * 1024 * 1024
_TOO_OLD_S = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One look: level `ok`, `warn` or `fail`."""

    level: str
    subject: str
    detail: str
    remedy: str = ""


def examine(config_path: str) -> list[Finding]:
    """Look at everything, in the order in which one would mend it."""
    from gateway import app

    findings = [*_software()]
    try:
        config = app.load_config(config_path)
        policy = app.load_policy(config)
    except ConfigError as error:
        problem = f"{error.place}: {error.problem}"
        return [*findings, Finding("fail", "config", problem, error.remedy)]
    findings.append(Finding("ok", "config", f"{config_path} {config.digest[:12]}"))
    findings.append(Finding("ok", "policy", policy.digest[:12]))
    for look in (_open_ranges, _disk, _certificates, _installation, _resolver):
        findings += _guarded(look, config)
    return findings


def _guarded(
    look: Callable[[Config], Iterator[Finding]], config: Config
) -> list[Finding]:
    subject = look.__name__.strip("_")
    try:
        return list(look(config))
    except ConfigError as error:
        problem = f"{error.place}: {error.problem}"
        return [Finding("fail", subject, problem, error.remedy)]
    except (GatewayError, OSError, ssl.SSLError) as error:
        return [Finding("fail", subject, f"{type(error).__name__}: {error}")]


def _software() -> Iterator[Finding]:
    from cryptography.hazmat.backends.openssl import backend
    from pysqlite3 import dbapi2

    from gateway.store.engine import check_library

    yield Finding("ok", "python", sys.version.split()[0])
    yield Finding("ok", "openssl (ssl)", ssl.OPENSSL_VERSION)
    yield Finding("ok", "openssl (cryptography)", backend.openssl_version_text())
    try:
        check_library()
        yield Finding("ok", "sqlite", dbapi2.sqlite_version)
    except ConfigError as error:
        yield Finding("fail", "sqlite", error.problem, error.remedy)


def _open_ranges(config: Config) -> Iterator[Finding]:
    for item in config.allow_ranges:
        ports = ",".join(map(str, sorted(item.ports)))
        detail = f"{item.network} ports {ports}"
        remedy = "remove net.allow_ranges unless the servers really are there (R20)"
        yield Finding("warn", "net.allow_ranges", detail, remedy)


def _disk(config: Config) -> Iterator[Finding]:
    free = shutil.disk_usage(config.state_dir).free
    level = "ok" if free > _LEAST_FREE else "fail"
    yield Finding(
        level, "disk", f"{free // 2**20} MiB", "" if level == "ok" else "room"
    )


def _certificates(config: Config) -> Iterator[Finding]:
    import datetime

    from cryptography import x509

    from gateway import clock

    for listener in config.listeners:
        pem = pathlib.Path(listener.certificate).read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        left = certificate.not_valid_after_utc - clock.now()
        where = f"{listener.address}:{listener.port}"
        detail = f"{where}: {left.days} d"
        if left < datetime.timedelta(days=0):
            yield Finding("fail", "certificate", detail, "renew it")
        elif left < datetime.timedelta(days=30):
            yield Finding("warn", "certificate", detail, "renew it")
        else:
            yield Finding("ok", "certificate", detail)


def _installation(config: Config) -> Iterator[Finding]:
    from gateway import app, clock
    from gateway.store.evidence import SqlEvidence

    mode = pathlib.Path(config.key_dir).stat().st_mode & 0o077
    level = "fail" if mode else "ok"
    yield Finding(level, "key directory", config.key_dir, "chmod 700" if mode else "")
    installation = app.Installation.open(config)
    try:
        yield Finding("ok", "store", "schema current")
        evidence = SqlEvidence(installation.store, "doctor")
        for origin in asyncio.run(evidence.origins()):
            latest = asyncio.run(evidence.latest_checkpoint(origin))
            age = None if latest is None else (clock.now() - latest.at).total_seconds()
            size = 0 if latest is None else latest.size
            yield Finding(
                "ok", "evidence", f"{origin}: {size} signed, {age or '-'} s ago"
            )
    finally:
        installation.close()


def _resolver(config: Config) -> Iterator[Finding]:
    from gateway import app

    if not config.dns.self_test:
        remedy = "set dns.self_test = true; without it nothing in DNS counts as secure"
        yield Finding("warn", "resolver", "not tested", remedy)
        return
    stub, _ = app.make_resolver(config)
    asyncio.run(stub.self_test())
    yield Finding(
        "ok", "resolver", f"{config.dns.resolver}:{config.dns.port} validates"
    )
