"""Puts the parts together; the only module that knows every door.

`Installation` is what commands and processes share: settings, policy, keys and store.
`run_worker` and `run_sequencer_process` are the processes that `serve` supervises.
"""

import asyncio
import contextlib
import dataclasses
import importlib.resources
import pathlib
import random  # noqa: TID251 - the one place where chance is chosen
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any

from gateway import VERSION, clock, relay, telemetry
from gateway.config import Config, Municipality
from gateway.config import parse as parse_config
from gateway.evidence.checkpoint import origin_of
from gateway.extract.mime import MimeExtractor
from gateway.facts import RegistryFacts
from gateway.intake.turns import Turns
from gateway.model.address import ReversePath
from gateway.model.classification import Classification
from gateway.model.document import Document
from gateway.model.errors import ConfigError
from gateway.model.ids import (
    Code,
    Digest,
    MessageId,
    MunicipalityId,
    RecordId,
    RegimeId,
    Role,
)
from gateway.model.message import Envelope, Message
from gateway.model.record import ConfigLoaded, PartnerApplied, Record
from gateway.model.verdict import Reason
from gateway.net.destination import DestinationResolver
from gateway.net.dns import ValidatingResolver
from gateway.net.smtp import SmtpDialer
from gateway.net.tls import client_context
from gateway.net.transaction import Timeouts
from gateway.parties import Client
from gateway.partnerfile import Change
from gateway.policy.classify import classify
from gateway.policy.memory import Memory
from gateway.policy.rulebook import Policy, build
from gateway.ports import Ports
from gateway.scan.clamd import ClamdScanner
from gateway.services import ScannerDown
from gateway.store.engine import database_path
from gateway.store.migrate import migrate
from gateway.store.partners import SqlPartners, with_digest
from gateway.store.queue import SqlQueue
from gateway.store.spool import SqlSpool
from gateway.store.work import Store
from gateway.texts import render
from gateway.trust.keystore import KeyStore

GATEWAY_LOG = MunicipalityId("_gateway")
_INTEGRATE_AT_ONCE = 2000
_DRAIN_S = 25.0
_SHORT = 64 * 1024  # characters: some milliseconds


def data_folder(name: str) -> Traversable:
    """A folder of shipped data: in the wheel, or beside the package in a checkout."""
    package = importlib.resources.files("gateway")
    shipped = package / "data" / name
    if shipped.is_dir():
        return shipped
    return pathlib.Path(str(package)).parent / name


def load_config(path: str) -> Config:
    """Read and parse the configuration file.

    Raises:
        ConfigError: Also when the file cannot be read.
    """
    return parse_config(_read(path, "write it with: ketenmail init"))


def _read(path: str, remedy: str) -> str:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(path, problem, remedy) from error


def load_policy(config: Config) -> Policy:
    """Read the shipped rule packs and those of the installation's own folder.

    Raises:
        RulebookError: Naming file, key, problem and remedy.
    """
    shipped = data_folder("policies")
    packs = _packs(shipped / "regimes")
    if config.policy_dir is not None:
        own = _packs(pathlib.Path(config.policy_dir))
        for name in own.keys() & packs.keys():
            raise ConfigError(
                f"gateway.policy_dir/{name}",
                "has the name of a shipped rule pack",
                "give it another name: a shipped pack cannot be replaced",
            )
        packs |= own
    return build(
        packs,
        (shipped / "decision.toml").read_text(encoding="utf-8"),
        (shipped / "consumer-domains.toml").read_text(encoding="utf-8"),
        config,
    )


def _packs(folder: Traversable) -> dict[str, str]:
    try:
        return {
            entry.name: entry.read_text(encoding="utf-8")
            for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
            if entry.name.endswith(".toml")
            and not entry.name.endswith(".examples.toml")
        }
    except OSError as error:
        place = "gateway.policy_dir"
        raise ConfigError(place, f"cannot be read: {error}", "correct it") from error


def log_origin(config: Config, municipality: MunicipalityId) -> str:
    """The evidence log of a municipality."""
    return origin_of(config.hostname.name, municipality)


@dataclasses.dataclass(frozen=True, slots=True)
class Installation:
    """Settings, policy, keys and store of one installation, opened."""

    config: Config
    policy: Policy
    keys: KeyStore
    store: Store

    @classmethod
    def open(cls, config: Config) -> "Installation":
        """Open it; the keys and the migrated store must be there (`ketenmail init`).

        Raises:
            ConfigError: For whatever is missing or may not be used.
        """
        policy = load_policy(config)
        keys = KeyStore(config.key_dir, config.master_key)
        store = Store.open(
            config.store_url,
            config.state_dir,
            keys,
            lambda municipality: log_origin(config, municipality),
            VERSION,
        )
        return cls(config, policy, keys, store)

    def close(self) -> None:
        """Write what waits and let go."""
        self.store.close()


def create(config: Config) -> list[str]:
    """Create what is missing of keys, folders and store; never overwrite.

    Returns:
        What was created, for the reader of `ketenmail init`.
    """
    wanted = {
        config.state_dir: pathlib.Path(config.state_dir),
        config.master_key: pathlib.Path(config.master_key),
        config.key_dir: pathlib.Path(config.key_dir),
        config.store_url: database_path(config.store_url),
    }
    missing = [name for name, path in wanted.items() if not path.exists()]
    wanted[config.state_dir].mkdir(mode=0o700, parents=True, exist_ok=True)
    origins = (log_origin(config, m) for m in (*config.municipalities, GATEWAY_LOG))
    KeyStore.create(config.key_dir, config.master_key, origins)
    migrate(config.store_url)
    return missing


def make_resolver(config: Config) -> tuple[ValidatingResolver, DestinationResolver]:
    """The stub on the validating resolver, and the one that puts answers together."""
    stub = ValidatingResolver(config.dns, time.monotonic)
    shuffle = random.SystemRandom().shuffle
    return stub, DestinationResolver(stub, shuffle)


def own_names(config: Config) -> frozenset[str]:
    """Our own name and listening addresses: never a next hop found by MX (B-04)."""
    return frozenset(
        {config.hostname.name, *(listener.address for listener in config.listeners)}
    )


class PolicyClassifier:
    """ports.Classifier: short documents at once, long ones beside the event loop."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._memory = Memory(classify, secrets.token_bytes(32))

    async def classify(self, document: Document) -> Classification:
        """See `ports.Classifier.classify`."""
        length = sum(len(segment.text) for segment in document.segments)
        if length <= _SHORT:
            return self._memory.classify(document, self._policy)
        return await asyncio.to_thread(self._memory.classify, document, self._policy)


def make_turns(config: Config) -> Turns:
    """Who may have a large message in memory; the processes share a lock for it."""
    lock = pathlib.Path(config.state_dir) / "large.lock"
    return Turns(lock, config.limits.sessions)


def make_house(
    installation: Installation,
    log: Callable[..., None] | None = None,
    turns: Turns | None = None,
) -> relay.House:
    """Everything a message meets."""
    config, store = installation.config, installation.store
    turns = turns or make_turns(config)
    malware, log = config.malware, log or telemetry.make_log()
    _, resolver = make_resolver(config)
    facts = RegistryFacts(
        SqlPartners(store), resolver, config.allow_ranges, own_names(config)
    )
    ports = Ports(
        extractor=MimeExtractor(),
        classifier=PolicyClassifier(installation.policy),
        facts=facts,
        resolver=resolver,
        dialer=SmtpDialer(
            config.hostname.name, Timeouts(), client_context(), clock.now
        ),
        spool=SqlSpool(store),
        queue=SqlQueue(store),
        work=store.work,
        turn=turns.wait,
        new_id=clock.new_id,
        now=clock.now,
        scanner=None if malware is None else ClamdScanner(malware, log),
    )
    return relay.House(
        policy=installation.policy,
        ports=ports,
        hostname=config.hostname.name,
        secret=lambda: secrets.token_bytes(32),
        allow_ranges=config.allow_ranges,
        own_addresses=own_names(config),
        scanner_down=ScannerDown.REFUSE if malware is None else malware.down,
    )


def load_hashes(clients: tuple[Client, ...]) -> Mapping[str, str]:
    """The argon2id hash of each client that authenticates, from its file.

    Raises:
        ConfigError: When a file cannot be read.
    """
    return {
        client.user: _read(client.password_file, "write it with argon2id").strip()
        for client in clients
        if client.user is not None and client.password_file is not None
    }


def config_loaded(config: Config, policy: Policy) -> ConfigLoaded:
    """The record that the gateway runs with this configuration and policy."""
    ranges = (
        f"{item.network} {','.join(map(str, sorted(item.ports)))}"
        for item in config.allow_ranges
    )
    return ConfigLoaded(
        id=RecordId(clock.new_id()),
        at=clock.now(),
        municipality=GATEWAY_LOG,
        message=None,
        policy=policy.digest,
        config=config.digest,
        allow_ranges="; ".join(ranges),
    )


@contextlib.contextmanager
def opened(config_path: str) -> Iterator[Installation]:
    """The installation of a settings file, for the length of one command."""
    installation = Installation.open(load_config(config_path))
    try:
        yield installation
    finally:
        installation.close()


def load_policy_for_classifying(config_path: str) -> Policy:
    """The policy of an installation, or the shipped one where there is none yet."""
    if pathlib.Path(config_path).exists():
        return load_policy(load_config(config_path))
    example = data_folder("policies").joinpath("gateway.example.toml")
    return load_policy(parse_config(example.read_text(encoding="utf-8")))


async def classify_octets(octets: bytes, policy: Policy) -> Classification:
    """Extract and classify a message that is in no transaction."""
    envelope = Envelope(ReversePath(None), ())
    message = Message(MessageId(clock.new_id()), envelope, octets, clock.now())
    return classify(await MimeExtractor().extract(message), policy)


def partner_records(
    changes: Iterable[Change], policy: Digest, actor: str
) -> list[Record]:
    """The evidence of registry changes (H-12)."""
    return [
        PartnerApplied(
            id=RecordId(clock.new_id()),
            at=clock.now(),
            municipality=change.after.municipality,
            message=None,
            policy=policy,
            partner=change.after.id,
            change=change.kind.value,
            before=None if change.before is None else change.before.digest,
            after=with_digest(change.after).digest,
            actor=actor,
        )
        for change in changes
    ]


def regimes_of(policy: Policy) -> list[RegimeId]:
    """The regimes that rule packs know."""
    return sorted(policy.packs)


def known_roles() -> frozenset[Role]:
    """The roles that have a name in our texts: another one is a typing error."""
    return frozenset(map(Role, render.TEXTS["nl"]["role"]))


def reason_of(
    answer: Mapping[str, Any], municipality: Municipality
) -> Mapping[str, str] | None:
    """Why a route explanation says no, by language; None when it is yes."""
    route = answer["route"] or {}
    code = answer["code"] or route.get("code")
    if code is None:
        return None
    parameters = tuple(answer.get("parameters", {}).items())
    explained = render.explain(Reason(Code(code), parameters), municipality)
    return {"nl": explained.nl, "en": explained.en}
