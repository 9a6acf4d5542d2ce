"""`config check` and `config show`."""

import dataclasses
import tomllib
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from gateway.cli import examination
from gateway.cli.help import Verb, group
from gateway.cli.output import DONE, NO, speaker_of
from gateway.config import AllowRange, Config, Municipality
from gateway.model.partner import Route, RouteMethod
from gateway.parties import Client, Listener
from gateway.services import Malware

Json = Annotated[bool, typer.Option("--json")]


def check(context: typer.Context, json: Json = False) -> None:
    """Check settings and rule packs; the answer is no while something is to be done."""
    from gateway import app
    from gateway.cli.setup import show_findings

    speaker = speaker_of(context, json=json)
    config = app.load_config(speaker.config_path)
    policy = app.load_policy(config)
    app.load_hashes(config.clients)
    findings = [
        *examination.to_be_filled_in(speaker, config),
        *examination.look_at_ranges(speaker, config),
    ]
    odd = [finding for finding in findings if finding.level != "ok"]
    fails = sum(finding.level == "fail" for finding in odd)
    verdict = "config.ok" if not fails else "config.todo"
    speaker.say(speaker.word(verdict, path=speaker.config_path, count=fails))
    show_findings(speaker, odd)
    speaker.give(
        {
            "ok": not fails,
            "config": config.digest,
            "policy": policy.digest,
            "findings": [finding.as_json() for finding in odd],
        }
    )
    speaker.end(NO if fails else DONE)


def show(context: typer.Context, json: Json = False) -> None:
    """Show every value in force under its key, and where it comes from."""
    from gateway import app

    speaker = speaker_of(context, json=json)
    config = app.load_config(speaker.config_path)
    written = _keys(tomllib.loads(config.text))
    rows = [
        (key, "file" if key in written else "default", value)
        for key, value in flatten(effective(config))
    ]
    origins = {origin: speaker.word(f"origin.{origin}") for origin in _ORIGINS}
    speaker.table([(key, origins[origin], shown(value)) for key, origin, value in rows])
    speaker.give(
        {
            "path": speaker.config_path,
            "digest": config.digest,
            "values": {
                key: {"value": value, "origin": origin} for key, origin, value in rows
            },
        }
    )


_ORIGINS = ("file", "default")


def effective(config: Config) -> dict[str, Any]:
    """The settings in force, in the form of the file; None for what is not set.

    Written as TOML (without the Nones) it gives the same settings again.
    """
    clock = config.clock
    return {
        "gateway": {
            "hostname": config.hostname.name,
            "state_dir": config.state_dir,
            "workers": config.workers,
            "policy_dir": config.policy_dir,
        },
        "store": {"url": config.store_url},
        "keys": {"directory": config.key_dir, "master_key_file": config.master_key},
        "listener": [_listener(item) for item in config.listeners],
        "limits": dataclasses.asdict(config.limits),
        "dns": dataclasses.asdict(config.dns),
        "net": {"allow_ranges": [_range(item) for item in config.allow_ranges]},
        "queue": {
            "retry_s": [int(span.total_seconds()) for span in clock.retry],
            "warn_after_s": int(clock.warn_after.total_seconds()),
            "expire_after_s": int(clock.expire_after.total_seconds()),
        },
        "municipality": [_municipality(m) for m in config.municipalities.values()],
        "client": [_client(item) for item in config.clients],
        "malware": _malware(config.malware),
        "metrics": None
        if config.metrics is None
        else dataclasses.asdict(config.metrics),
    }


def _malware(item: Malware | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {
        "clamd_socket": item.socket,
        "clamd_port": item.port,
        "clamd_address": item.address,
        "timeout_s": item.timeout_s,
        "down": item.down.value,
    }


def _listener(item: Listener) -> dict[str, Any]:
    proxies = [str(network) for network in item.proxy_from]
    return dataclasses.asdict(item) | {"tls": item.tls.value, "proxy_from": proxies}


def _range(item: AllowRange) -> dict[str, Any]:
    return {"range": str(item.network), "ports": sorted(item.ports)}


def _municipality(owner: Municipality) -> dict[str, Any]:
    return {
        "id": owner.id,
        "name": owner.name,
        "oin": owner.oin,
        "sender_domains": sorted(domain.name for domain in owner.sender_domains),
        "notices_from": str(owner.notices_from),
        "notices_to": None if owner.notices_to is None else str(owner.notices_to),
        "unattended": sorted(map(str, owner.unattended)),
        "unreadable": owner.unreadable.value,
        "unreadable_authenticated": owner.unreadable_authenticated,
        "mixed": owner.mixed.value,
        "hold_hours": int(owner.hold_for.total_seconds() // 3600),
        "page": owner.page,
        "route": _route(owner.route),
        "alternative_person": _pair(owner.alternative_person),
        "alternative_unknown": _pair(owner.alternative_unknown),
    }


def _route(route: Route) -> dict[str, Any]:
    fixed = route.method is RouteMethod.FIXED
    return {
        "method": route.method.value,
        "host": route.host,
        "port": route.port if fixed else None,
        "least": route.least.name.lower(),
        "requires": route.requires.value,
        "pins": sorted(pin.spki_sha256 for pin in route.pins),
        "vouched_hosts": sorted(host.name for host in route.vouched_hosts),
    }


def _pair(texts: tuple[str, str] | None) -> dict[str, str] | None:
    return None if texts is None else {"nl": texts[0], "en": texts[1]}


def _client(item: Client) -> dict[str, Any]:
    return {
        "id": item.id,
        "municipality": item.municipality,
        "sender_domains": sorted(domain.name for domain in item.sender_domains),
        "networks": [str(network) for network in item.networks],
        "user": item.user,
        "password_file": item.password_file,
        "certificate_sha256": sorted(item.certificate_sha256),
        "certificate_names": sorted(name.name for name in item.certificate_names),
        "tenant": None if item.tenant is None else dataclasses.asdict(item.tenant),
        "mode": item.mode.value,
        "foreign_from": item.foreign_from.value,
    }


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and plain values; tables of a list are counted from 1."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flatten(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value, 1):
            yield from flatten(item, f"{key}[{number}]")
    else:
        yield key, value


def _keys(parsed: dict[str, Any]) -> frozenset[str]:
    """The keys that the file itself has."""
    return frozenset(key for key, _ in flatten(parsed))


def shown(value: Any) -> str:
    """A value as it is written in TOML; a dash for what is not set."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + ", ".join(map(shown, value)) + "]"
        case _:
            return str(value)


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    config = group(app, "config")
    config.command("check", cls=Verb)(check)
    config.command("show", cls=Verb)(show)
