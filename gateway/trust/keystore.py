"""The only reader of our private keys; gives out signers and TLS contexts, not keys.

Theory of operation (R4). The master key is a file of its own. The key directory lies
outside the database and its backups:

    epoch/<epoch id>.json   an epoch key, sealed under the master key
    log/<origin>.key        the seed of a log's Ed25519 key, sealed likewise
    log/<origin>.pub        its public half, as a C2SP verifier key

An epoch key wraps the keys of rows and content of one municipality and retention class.
A new one is begun after `EPOCH`; destroying an old one (issue 8) makes unreadable what
was erased under it, in old backups of the database too. Several processes share the
directory: files appear complete or not at all, and a lock decides who begins an epoch.
"""

import base64
import binascii
import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import re
import secrets
import ssl
import stat
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from gateway import clock, parties
from gateway.model.errors import ConfigError, TemporaryFailure
from gateway.model.ids import MunicipalityId
from gateway.ports import CheckpointSigner

EPOCH = datetime.timedelta(days=30)
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_KEY_OCTETS = 32
_NONCE_OCTETS = 12
_ED25519 = b"\x01"  # the algorithm octet of a verifier key (C2SP signed-note)
_EPOCH_ID = re.compile(r"[0-9a-f]{32}\Z")
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@dataclasses.dataclass(frozen=True, slots=True)
class _EpochKey:
    """One epoch key, unsealed."""

    id: str
    municipality: str
    retention_class: str
    begun_at: datetime.datetime
    key: bytes = dataclasses.field(repr=False)


class KeyStore:
    """Epoch keys (ports.KeyWrapper), log signers and TLS contexts.

    Safe to use from several threads. Keys stay in memory once they were read.
    """

    def __init__(
        self,
        key_dir: str,
        master_key_file: str,
        now: Callable[[], datetime.datetime] = clock.now,
    ) -> None:
        """Read the master key and check it against what it sealed.

        Raises:
            ConfigError: When a file is missing, open to others, or does not fit.
        """
        self._place = pathlib.Path(key_dir)
        self._master = _read_master_key(pathlib.Path(master_key_file))
        self._now = now
        self._lock = threading.Lock()
        self._by_id: dict[str, _EpochKey] = {}
        self._present: dict[tuple[str, str], _EpochKey] = {}
        for part in ("epoch", "log"):
            if not (self._place / part).is_dir():
                raise ConfigError(
                    "keys.directory", "is not complete", "run: ketenmail init"
                )
        self._read_new_epochs()

    @classmethod
    def create(
        cls, key_dir: str, master_key_file: str, origins: Iterable[str] = ()
    ) -> "KeyStore":
        """Make what is missing: master key, key directory, a log key per origin.

        Nothing that is there is replaced. A master key is not made for a directory that
        holds keys already: it could not open them.

        Raises:
            ConfigError: For files that cannot be made or do not fit together.
        """
        place, master = pathlib.Path(key_dir), pathlib.Path(master_key_file)
        try:
            for part in (place, place / "epoch", place / "log"):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not master.exists():
                _make_master_key(master, place)
        except OSError as error:
            raise ConfigError(
                "keys", f"cannot be made: {error.strerror}", "check directory, owner"
            ) from error
        store = cls(key_dir, master_key_file)
        for origin in origins:
            store._make_log_key(origin)
        return store

    def wrap(
        self, municipality: MunicipalityId, retention_class: str, key: bytes
    ) -> tuple[str, bytes]:
        """Wrap a 32-octet key (RFC 3394); see ports.KeyWrapper."""
        epoch = self._present.get((municipality, retention_class))
        if epoch is None or self._is_over(epoch):
            epoch = self._begin_epoch(municipality, retention_class)
        return epoch.id, aes_key_wrap(epoch.key, key)

    def unwrap(self, epoch: str, wrapped: bytes) -> bytes:
        """The key again; see ports.KeyWrapper."""
        found = self._by_id.get(epoch)
        if found is None and _EPOCH_ID.match(epoch):
            with self._lock:  # another process may have begun it
                self._look_again()
            found = self._by_id.get(epoch)
        if found is None:
            raise TemporaryFailure("keystore: an epoch key is not in the directory")
        try:
            return aes_key_unwrap(found.key, wrapped)
        except (InvalidUnwrap, ValueError) as error:
            raise TemporaryFailure("keystore: a wrapped key does not open") from error

    def signer(self, origin: str) -> CheckpointSigner:
        """The signer of a log.

        Raises:
            ConfigError: When it has no key: a new one for a known log would be a fork,
                so only `create` makes one.
        """
        path = self._log_path(origin)
        try:
            sealed = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"log key of {origin}", "is missing", "run: ketenmail init"
            ) from error
        seed = self._unseal(sealed, f"log {origin}", path.name)
        return _Signer(origin, Ed25519PrivateKey.from_private_bytes(seed))

    def server_context(self, listener: parties.Listener) -> ssl.SSLContext:
        """The TLS context of a listener, read anew at each call.

        That of `listener_context`, with a certificate. With `client_ca` a client may
        show a certificate of one of those authorities; it need not. With `client_crl`
        one that was revoked, or of whose authority no valid list is there, is refused
        (A-34).

        Raises:
            ConfigError: When certificate or key cannot be used.
        """
        _check_listener_key(listener.key)
        context = listener_context()
        try:
            # Without a password of ours OpenSSL would ask for one at the terminal.
            context.load_cert_chain(listener.certificate, listener.key, lambda: b"")
            if listener.client_ca is not None:
                context.load_verify_locations(listener.client_ca)
                context.verify_mode = ssl.CERT_OPTIONAL
            if listener.client_crl is not None:
                context.load_verify_locations(listener.client_crl)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(
                f"listener {listener.address}:{listener.port}",
                f"has a certificate, key, client_ca or client_crl that cannot be used: "
                f"{getattr(error, 'reason', None) or getattr(error, 'strerror', '')}",
                "give PEM files that belong together, the key without a password",
            ) from error
        return context

    def _is_over(self, epoch: _EpochKey) -> bool:
        # A begin in the future is a clock that was wrong then or is wrong now: the key
        # is used on, for a new one each time would be worse.
        return self._now() - epoch.begun_at >= EPOCH

    def _begin_epoch(self, municipality: str, retention_class: str) -> _EpochKey:
        with self._lock, self._locked_directory():
            self._look_again()  # another process may have been faster
            present = self._present.get((municipality, retention_class))
            if present is not None and not self._is_over(present):
                return present
            epoch = _EpochKey(
                secrets.token_hex(16),
                municipality,
                retention_class,
                self._now(),
                secrets.token_bytes(_KEY_OCTETS),
            )
            value = {**_facts(epoch), "sealed": self._seal(epoch.key, _name(epoch))}
            path = self._place / "epoch" / f"{epoch.id}.json"
            _save_new(path, json.dumps(value).encode(), 0o600)
            self._keep(epoch)
            return epoch

    @contextlib.contextmanager
    def _locked_directory(self) -> Iterator[None]:
        path = self._place / "lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TemporaryFailure("keystore: directory is not writable") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise TemporaryFailure("keystore: cannot write a key") from error
        finally:
            os.close(lock)

    def _look_again(self) -> None:
        try:
            self._read_new_epochs()
        except ConfigError as error:  # while running it is a fault like any other
            raise TemporaryFailure("keystore: an epoch key cannot be read") from error

    def _read_new_epochs(self) -> None:
        for path in (self._place / "epoch").glob("*.json"):
            if path.stem not in self._by_id:
                self._keep(self._read_epoch(path))

    def _read_epoch(self, path: pathlib.Path) -> _EpochKey:
        try:
            value = json.loads(path.read_bytes())
            epoch = _EpochKey(
                value["epoch"],
                value["municipality"],
                value["retention_class"],
                datetime.datetime.fromisoformat(value["begun_at"]),
                b"",
            )
            sealed = value["sealed"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"epoch key {path.name}", "cannot be read", "restore the key directory"
            ) from error
        if epoch.id != path.stem:
            raise ConfigError(
                f"epoch key {path.name}", "is another's", "restore the key directory"
            )
        key = self._unseal(sealed.encode(), _name(epoch), path.name)
        return dataclasses.replace(epoch, key=key)

    def _keep(self, epoch: _EpochKey) -> None:
        self._by_id[epoch.id] = epoch
        which = (epoch.municipality, epoch.retention_class)
        present = self._present.get(which)
        if present is None or present.begun_at < epoch.begun_at:
            self._present[which] = epoch

    def _log_path(self, origin: str) -> pathlib.Path:
        return self._place / "log" / f"{urllib.parse.quote(origin, safe='')}.key"

    def _make_log_key(self, origin: str) -> None:
        path = self._log_path(origin)
        with self._lock, self._locked_directory():
            if not path.exists():
                seed = Ed25519PrivateKey.generate().private_bytes_raw()
                _save_new(path, self._seal(seed, f"log {origin}").encode(), 0o600)
        public = path.with_suffix(".pub")
        if not public.exists():
            signer = self.signer(origin)
            text = _verifier_key(signer.name, signer.public_key)
            with self._lock, self._locked_directory():
                _save_new(public, f"{text}\n".encode(), 0o644)

    def _seal(self, key: bytes, name: str) -> str:
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        sealed = AESGCM(self._master).encrypt(nonce, key, name.encode())
        return base64.b64encode(nonce + sealed).decode()

    def _unseal(self, sealed: bytes, name: str, file: str) -> bytes:
        try:
            octets = base64.b64decode(sealed, validate=True)
            nonce, rest = octets[:_NONCE_OCTETS], octets[_NONCE_OCTETS:]
            return AESGCM(self._master).decrypt(nonce, rest, name.encode())
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise ConfigError(
                f"key {file}",
                "does not open with the master key",
                "restore the master key and key directory that belong together",
            ) from error


class _Signer:
    """Signs the checkpoints of one log (ports.CheckpointSigner)."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._name = name
        self._key = key

    @property
    def name(self) -> str:
        return self._name

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text)


def _facts(epoch: _EpochKey) -> dict[str, Any]:
    return {
        "epoch": epoch.id,
        "municipality": epoch.municipality,
        "retention_class": epoch.retention_class,
        "begun_at": epoch.begun_at.isoformat(),
    }


def _name(epoch: _EpochKey) -> str:
    """What the seal over an epoch key binds: all that its file says of it."""
    return "epoch " + json.dumps(_facts(epoch), sort_keys=True)


def _verifier_key(name: str, public_key: bytes) -> str:
    """A C2SP signed-note verifier key: name, id in hexadecimal, key in base64."""
    digest = Hash(SHA256())
    digest.update(name.encode() + b"\n" + _ED25519 + public_key)
    identity = digest.finalize()[:4].hex()
    return f"{name}+{identity}+{base64.b64encode(_ED25519 + public_key).decode()}"


def _read_master_key(path: pathlib.Path) -> bytes:
    place = "keys.master_key_file"
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            text = file.read(1024).strip()
    except OSError as error:
        raise ConfigError(
            place, f"cannot be read: {error.strerror}", "run: ketenmail init"
        ) from error
    if facts.st_mode & _FOR_OTHERS or facts.st_uid not in {0, os.geteuid()}:
        raise ConfigError(
            place,
            "can be read by others than the gateway",
            "make it the gateway's own, and: chmod 0400",
        )
    try:
        is_hexadecimal = len(text) == 2 * _KEY_OCTETS
        key = (
            bytes.fromhex(text.decode("ascii"))
            if is_hexadecimal
            else base64.b64decode(text, validate=True)
        )
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != _KEY_OCTETS:
        raise ConfigError(
            place, "does not hold 32 octets in hexadecimal or base64", "restore it"
        )
    return key


def _make_master_key(path: pathlib.Path, key_dir: pathlib.Path) -> None:
    if any(key_dir.glob("*/*")):
        raise ConfigError(
            "keys.master_key_file",
            "is missing, and the key directory holds keys that need it",
            "restore the master key; without it nothing kept can be read",
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = base64.b64encode(secrets.token_bytes(_KEY_OCTETS))
    _save_new(path, key + b"\n", 0o400)


def _save_new(path: pathlib.Path, octets: bytes, mode: int) -> None:
    """Write a file that is there whole or not at all; never replaces one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, _NEW_FILE, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    finally:
        temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def listener_context() -> ssl.SSLContext:
    """A server's TLS context, still without a certificate (C-01, C-02, C-06, C-12).

    TLS 1.2 and 1.3 with forward secrecy and AEAD only; no renegotiation, compression or
    tickets: a ticket's key would open recorded sessions for as long as it is kept.
    Groups and signature algorithms are the process's; see `gateway.trust.hardening`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= (
        ssl.OP_NO_COMPRESSION
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_NO_TICKET
        | ssl.OP_CIPHER_SERVER_PREFERENCE
        | ssl.OP_SINGLE_ECDH_USE
    )
    context.num_tickets = 0
    return context


def _check_listener_key(key: str) -> None:
    try:
        mode = pathlib.Path(key).stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"listener key {key}", f"cannot be read: {error.strerror}", "correct it"
        ) from error
    if mode & stat.S_IRWXO:
        raise ConfigError(
            f"listener key {key}", "can be read by everybody", "chmod 0640 or stricter"
        )
