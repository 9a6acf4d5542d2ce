import base64
import contextlib
import datetime
import multiprocessing
import os
import pathlib
import re
import ssl
import stat
import threading

import pytest

from gateway.evidence.checkpoint import Checkpoint, parse_key, sign_note, verify_note
from gateway.model.errors import ConfigError, TemporaryFailure
from gateway.model.ids import MunicipalityId
from gateway.parties import Listener, ListenerTls
from gateway.trust.keystore import EPOCH, KeyStore
from tests import certs
from tests.peers import presence

OWNER = MunicipalityId("../zwarte/water")
ORIGIN = "gateway.example/zwartewater"
NOW = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
KEY = bytes(range(32))


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "keys"), str(tmp_path / "secret" / "master.key")


@pytest.fixture
def store(place):
    return KeyStore.create(*place, [ORIGIN])


def epochs(place):
    return sorted(path.name for path in (pathlib.Path(place[0]) / "epoch").iterdir())


def snapshot(place):
    paths = [pathlib.Path(place[1]), *pathlib.Path(place[0]).rglob("*")]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def test_a_wrapped_key_opens_again_also_after_a_restart(place, store):
    epoch, wrapped = store.wrap(OWNER, "content", KEY)

    assert (
        KEY == store.unwrap(epoch, wrapped) == KeyStore(*place).unwrap(epoch, wrapped)
    )
    assert KEY not in wrapped


def test_municipalities_and_classes_have_epoch_keys_of_their_own(store):
    pairs = [("a", "content"), ("a", "sensitive"), ("a", "ordinary"), ("b", "content")]

    ids = {store.wrap(MunicipalityId(m), c, KEY)[0] for m, c in pairs * 2}

    assert len(ids) == 4


def test_a_new_epoch_begins_after_thirty_days_and_the_old_one_still_opens(place):
    now = [NOW]
    store = KeyStore.create(*place)
    store._now = lambda: now[0]
    first, wrapped = store.wrap(OWNER, "content", KEY)
    now[0] = NOW + EPOCH - datetime.timedelta(seconds=1)
    assert first == store.wrap(OWNER, "content", KEY)[0]

    now[0] = NOW + EPOCH
    second = store.wrap(OWNER, "content", KEY)[0]

    assert first != second
    assert store.unwrap(first, wrapped) == KEY
    assert second == KeyStore(*place, lambda: now[0]).wrap(OWNER, "content", KEY)[0]


def test_an_epoch_is_never_longer_than_thirty_days():
    assert datetime.timedelta(days=30) >= EPOCH


def test_a_clock_set_back_does_not_begin_epochs_without_end(place):
    KeyStore.create(*place)
    KeyStore(*place, lambda: NOW).wrap(OWNER, "content", KEY)
    earlier = KeyStore(*place, lambda: NOW - datetime.timedelta(days=99))

    ids = {earlier.wrap(OWNER, "content", KEY)[0] for _ in range(5)}

    assert 1 == len(ids) == len(epochs(place))


def test_a_key_of_another_process_is_found(place, store):
    other = KeyStore(*place)
    epoch, wrapped = other.wrap(OWNER, "content", KEY)

    assert store.unwrap(epoch, wrapped) == KEY
    assert epoch == store.wrap(OWNER, "content", KEY)[0]


@pytest.mark.parametrize("epoch", ["0" * 32, "../../master", "", "x" * 32])
def test_an_epoch_key_that_is_not_there_is_a_fault_of_ours(store, epoch):
    with pytest.raises(TemporaryFailure):
        store.unwrap(epoch, bytes(40))


@pytest.mark.parametrize("wrapped", [b"", bytes(39), bytes(40)])
def test_a_changed_wrapped_key_does_not_open(store, wrapped):
    epoch, _ = store.wrap(OWNER, "content", KEY)

    with pytest.raises(TemporaryFailure):
        store.unwrap(epoch, wrapped)


def test_a_destroyed_epoch_key_opens_nothing_after_a_restart(place, store):
    epoch, wrapped = store.wrap(OWNER, "content", KEY)
    (pathlib.Path(place[0]) / "epoch" / f"{epoch}.json").unlink()

    with pytest.raises(TemporaryFailure):
        KeyStore(*place).unwrap(epoch, wrapped)


def _wrap_at_once(place, barrier, found):
    store = KeyStore(*place)
    barrier.wait(30)
    found.put(store.wrap(OWNER, "content", KEY)[0])


def test_processes_that_begin_an_epoch_at_once_agree_on_one(place, store):
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(4), context.Queue()
    children = [
        context.Process(target=_wrap_at_once, args=(place, barrier, found))
        for _ in range(4)
    ]
    for child in children:
        child.start()
    try:
        ids = {found.get(timeout=60) for _ in children}
    finally:
        for child in children:
            child.join(30)
            child.kill()

    assert 1 == len(ids) == len(epochs(place))


def test_threads_that_begin_an_epoch_at_once_agree_on_one(place, store):
    ids = []
    threads = [
        threading.Thread(
            target=lambda: ids.append(store.wrap(OWNER, "content", KEY)[0])
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 == len(set(ids)) == len(epochs(place))


def test_no_file_holds_a_key_in_clear(place, store):
    store.wrap(OWNER, "content", KEY)
    epoch_key = next(iter(store._by_id.values())).key
    seed = store.signer(ORIGIN)._key.private_bytes_raw()

    for octets in snapshot(place).values():
        for key in (epoch_key, seed):
            for form in (key, key.hex().encode(), base64.b64encode(key)):
                assert form not in octets


def test_keys_are_the_gateways_alone(place, store):
    store.wrap(OWNER, "content", KEY)

    for path in snapshot(place):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & 0o077 or path.suffix == ".pub"
    assert stat.S_IMODE(pathlib.Path(place[1]).stat().st_mode) == 0o400
    assert stat.S_IMODE(pathlib.Path(place[0]).stat().st_mode) == 0o700


def test_creating_again_replaces_nothing_and_adds_what_is_missing(place, store):
    store.wrap(OWNER, "content", KEY)
    before = snapshot(place)

    KeyStore.create(*place, [ORIGIN, "gateway.example/_gateway"])

    after = snapshot(place)
    assert before.items() <= after.items()
    assert len(after) - len(before) == 2


def test_a_master_key_is_not_made_for_a_directory_with_keys(place, store):
    pathlib.Path(place[1]).unlink()

    with pytest.raises(ConfigError, match="restore the master key"):
        KeyStore.create(*place)
    assert not pathlib.Path(place[1]).exists()


@pytest.mark.parametrize("mode", [0o440, 0o604, 0o640, 0o644, 0o660, 0o777, 0o620])
def test_a_master_key_that_others_can_read_or_write_is_refused(place, store, mode):
    pathlib.Path(place[1]).chmod(mode)

    with pytest.raises(ConfigError, match="chmod 0400"):
        KeyStore(*place)


def test_a_master_key_of_another_user_is_refused(place, store):
    presence.need(as_root=True)  # only root can give a file away
    os.chown(place[1], 65534, 65534)

    with pytest.raises(ConfigError, match="gateway's own"):
        KeyStore(*place)


@pytest.mark.parametrize("form", [bytes.hex, lambda k: base64.b64encode(k).decode()])
@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_master_key_in_hexadecimal_or_base64_is_taken(place, store, form, mode):
    epoch, wrapped = store.wrap(OWNER, "content", KEY)
    path = pathlib.Path(place[1])
    octets = base64.b64decode(path.read_bytes())
    path.unlink()
    path.touch(mode)
    path.write_text(f"{form(octets)}\n")

    assert KeyStore(*place).unwrap(epoch, wrapped) == KEY


@pytest.mark.parametrize("text", ["", "x", "zz" * 32, "00" * 31, "AAAA", "00" * 33])
def test_a_file_that_is_no_master_key_is_refused(place, store, text):
    path = pathlib.Path(place[1])
    path.unlink()
    path.touch(0o600)
    path.write_text(text)

    with pytest.raises(ConfigError, match="32 octets"):
        KeyStore(*place)


def test_another_master_key_is_refused(place, store):
    store.wrap(OWNER, "content", KEY)
    path = pathlib.Path(place[1])
    path.chmod(0o600)
    path.write_text("00" * 32)

    with pytest.raises(ConfigError, match="does not open"):
        KeyStore(*place)


def test_a_missing_master_key_is_refused(place, store):
    pathlib.Path(place[1]).unlink()

    with pytest.raises(ConfigError, match="init"):
        KeyStore(*place)


def test_a_missing_key_directory_is_refused(place, store, tmp_path):
    with pytest.raises(ConfigError, match="init"):
        KeyStore(str(tmp_path / "other"), place[1])


@pytest.mark.parametrize("change", ["garbage", "municipality", "renamed"])
def test_a_changed_epoch_file_is_refused(place, store, change):
    store.wrap(OWNER, "content", KEY)
    (path,) = (pathlib.Path(place[0]) / "epoch").iterdir()
    text = path.read_text()
    if change == "garbage":
        path.write_text("{")
    elif change == "municipality":
        path.write_text(text.replace("zwarte", "witte"))
    else:
        path.rename(path.with_stem("0" * 32))

    with pytest.raises(ConfigError, match=r"epoch key|does not open"):
        KeyStore(*place)


def test_an_epoch_file_that_goes_bad_while_running_is_a_fault_of_ours(place, store):
    (pathlib.Path(place[0]) / "epoch" / f"{'0' * 32}.json").write_text("{")

    with pytest.raises(TemporaryFailure):
        store.wrap(OWNER, "content", KEY)
    with pytest.raises(TemporaryFailure):
        store.unwrap("0" * 32, bytes(40))


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="keys"):
        KeyStore.create(str(tmp_path / "file" / "keys"), str(tmp_path / "m"))


def test_an_epoch_that_cannot_be_written_is_a_fault_of_ours(place, store, monkeypatch):
    def refuse(*_):
        raise OSError(28, "no room")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(TemporaryFailure):
        store.wrap(OWNER, "content", KEY)
    monkeypatch.undo()

    assert epochs(place) == []
    assert store.wrap(OWNER, "content", KEY)


def test_a_signed_checkpoint_verifies_with_the_published_key(place, store):
    text = (
        pathlib.Path(place[0]) / "log/gateway.example%2Fzwartewater.pub"
    ).read_text()
    note = sign_note(Checkpoint(ORIGIN, 7, bytes(32)), store.signer(ORIGIN))

    name, public_key = parse_key(text.strip())

    assert name == ORIGIN
    assert Checkpoint(ORIGIN, 7, bytes(32)) == verify_note(note, name, public_key)
    assert public_key == KeyStore(*place).signer(ORIGIN).public_key


def test_a_log_without_a_key_gets_no_new_one_by_itself(store):
    with pytest.raises(ConfigError, match="init"):
        store.signer("gateway.example/unknown")


def test_a_log_key_under_the_name_of_another_does_not_open(place, store):
    log = pathlib.Path(place[0]) / "log"
    (log / "gateway.example%2Fzwartewater.key").rename(log / "other.key")

    with pytest.raises(ConfigError, match="does not open"):
        store.signer("other")


@pytest.fixture
def files(tmp_path, ca):
    credential = certs.issue(ca, "gateway.example")
    return credential.write(tmp_path / "tls")


def make_listener(files, **changes):
    values = {
        "address": "127.0.0.1",
        "port": 25,
        "tls": ListenerTls.STARTTLS,
        "certificate": str(files.certificate),
        "key": str(files.key),
        "client_ca": None,
        "require_tls": True,
    }
    return Listener(**(values | changes))


def shake(server, **client):
    """A handshake in memory: version, cipher, client certificate as seen by us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in client.items():
        if name == "ciphers":
            context.set_ciphers(value)
        elif name == "chain":
            context.load_cert_chain(*value)
        else:
            setattr(context, name, value)
    pipes = [ssl.MemoryBIO() for _ in range(2)]
    ends = [
        server.wrap_bio(pipes[0], pipes[1], server_side=True),
        context.wrap_bio(pipes[1], pipes[0]),
    ]
    waiting = set(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return ends[0].version(), ends[0].cipher()[0], ends[0].getpeercert(True)


def test_tls_1_3_and_1_2_are_spoken_with_forward_secrecy_and_aead(store, files):
    server = store.server_context(make_listener(files))

    assert shake(server)[0] == "TLSv1.3"
    old = shake(server, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert old[0] == "TLSv1.2"
    assert re.match(r"ECDHE-.*(GCM|CHACHA20)", old[1])


@pytest.mark.parametrize(
    "ciphers", ["AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "DHE+AESGCM"]
)
def test_a_client_with_weaker_ciphers_only_is_refused(store, files, ciphers):
    server = store.server_context(make_listener(files))
    maximum = ssl.TLSVersion.TLSv1_2

    with pytest.raises(ssl.SSLError):
        shake(server, ciphers=f"{ciphers}:@SECLEVEL=0", maximum_version=maximum)


def test_tls_1_1_is_refused(store, files):
    server = store.server_context(make_listener(files))

    assert ssl.TLSVersion.TLSv1_2 == server.minimum_version
    for option in ("NO_COMPRESSION", "NO_RENEGOTIATION", "CIPHER_SERVER_PREFERENCE"):
        assert server.options & getattr(ssl, f"OP_{option}")


def test_a_client_may_show_a_certificate_of_client_ca_and_need_not(
    store, files, ca, tmp_path
):
    authority = tmp_path / "ca.pem"
    authority.write_bytes(ca.chain_pem)
    mine = certs.issue(ca, "mail.zwartewater.example").write(tmp_path / "client")
    server = store.server_context(make_listener(files, client_ca=str(authority)))

    shown = shake(server, chain=(mine.certificate, mine.key))[2]

    assert (
        ssl.PEM_cert_to_DER_cert(
            mine.certificate.read_text().partition("-----END CERTIFICATE-----")[0]
            + "-----END CERTIFICATE-----"
        )
        == shown
    )
    assert shake(server)[2] is None


def test_a_client_certificate_of_another_authority_is_refused(
    store, files, ca, tmp_path
):
    authority = tmp_path / "ca.pem"
    authority.write_bytes(ca.chain_pem)
    other = certs.issue(certs.make_ca("Other"), "x.example").write(tmp_path / "client")
    server = store.server_context(make_listener(files, client_ca=str(authority)))

    with pytest.raises(ssl.SSLError):
        shake(server, chain=(other.certificate, other.key))


YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("revoked", "until", "passes"),
    [("other", None, True), ("mine", None, False), ("other", YESTERDAY, False)],
    ids=["another", "this one", "list has run out"],
)
def test_a34_a_revoked_client_certificate_is_refused(
    store, files, ca, tmp_path, revoked, until, passes
):
    authority, crl = tmp_path / "ca.pem", tmp_path / "ca.crl"
    authority.write_bytes(ca.chain_pem)
    issued = {name: certs.issue(ca, f"{name}.example") for name in ("mine", "other")}
    crl.write_bytes(certs.revocation_list(ca, issued[revoked], until=until))
    mine = issued["mine"].write(tmp_path / "client")
    server = store.server_context(
        make_listener(files, client_ca=str(authority), client_crl=str(crl))
    )

    refused = contextlib.nullcontext() if passes else pytest.raises(ssl.SSLError)
    with refused:
        assert shake(server, chain=(mine.certificate, mine.key))[2] is not None
    assert shake(server)[2] is None  # without a certificate it is a stranger, as ever


@pytest.mark.parametrize("what", ["certificate", "key", "client_ca", "client_crl"])
@pytest.mark.parametrize("how", ["missing", "garbage"])
def test_a_file_that_cannot_be_used_is_refused_with_a_remedy(
    store, files, tmp_path, what, how
):
    path = tmp_path / "bad.pem"
    if how == "garbage":
        path.write_text("no PEM")

    with pytest.raises(ConfigError, match="listener"):
        store.server_context(make_listener(files, **{what: str(path)}))


def test_a_key_that_does_not_belong_to_the_certificate_is_refused(
    store, files, ca, tmp_path
):
    other = certs.issue(ca, "other.example").write(tmp_path / "other")

    with pytest.raises(ConfigError, match="listener"):
        store.server_context(make_listener(files, key=str(other.key)))


def test_a_key_that_everybody_can_read_is_refused(store, files):
    files.key.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod"):
        store.server_context(make_listener(files))
