import contextlib
import dataclasses
import datetime
import functools
import socket
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.model.address import Domain
from gateway.model.assurance import TlsResult
from gateway.model.destination import Tlsa
from gateway.model.errors import TlsFailure
from gateway.trust.chain import Chain
from gateway.trust.dane import match_tlsa, usable
from tests.unit.trust.issuing import DAY, NOW, Issued, issue, make_pki

HOST = Domain("mx1.example.nl")
RECIPIENT_DOMAIN = Domain("example.nl")
PKI = make_pki()
ROOT, MIDDLE, LEAF = PKI.root, PKI.intermediate, PKI.leaf
CHAIN = Chain((LEAF.der, MIDDLE.der))
WRONG = bytes(32)


def chain_of(*issued: Issued) -> Chain:
    return Chain(tuple(each.der for each in issued))


def match(chain: Chain, *records: Tlsa, names=(HOST,), now=NOW) -> Tlsa:
    return match_tlsa(chain, frozenset(records), names, now)


def why(chain: Chain, *records: Tlsa, names=(HOST,), now=NOW) -> TlsResult:
    with pytest.raises(TlsFailure) as failure:
        match(chain, *records, names=names, now=now)
    return failure.value.result


# --- which records count ----------------------------------------------------------


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching_type", [0, 1, 2])
def test_b16_well_formed_records_of_usage_2_and_3_are_usable(
    usage: int, selector: int, matching_type: int
) -> None:
    records = frozenset({LEAF.tlsa(usage, selector, matching_type)})
    assert usable(records) == records


@pytest.mark.parametrize(
    "record",
    [
        LEAF.tlsa(0, 1, 1),
        LEAF.tlsa(1, 1, 1),
        Tlsa(255, 1, 1, WRONG),
        Tlsa(3, 2, 1, WRONG),
        Tlsa(3, 255, 1, WRONG),
        Tlsa(3, 1, 9, WRONG),
        Tlsa(3, 1, 255, WRONG),
        Tlsa(3, 1, 1, bytes(31)),
        Tlsa(3, 1, 1, bytes(33)),
        Tlsa(3, 1, 2, bytes(32)),
        Tlsa(3, 1, 1, b""),
        Tlsa(3, 0, 0, b"no certificate"),
        Tlsa(2, 1, 0, b"no key"),
        Tlsa(2, 0, 0, b""),
    ],
    ids=lambda record: (
        f"{record.usage}-{record.selector}-{record.matching_type}-{len(record.data)}"
    ),
)
def test_b16_other_records_are_unusable(record: Tlsa) -> None:
    assert usable(frozenset({record})) == frozenset()


def test_b18_only_the_strongest_digest_of_a_usage_and_selector_counts() -> None:
    strong, weak = LEAF.tlsa(3, 1, 2), LEAF.tlsa(3, 1, 1)
    other = LEAF.tlsa(3, 0, 1)
    full = LEAF.tlsa(3, 1, 0)
    assert usable(frozenset({strong, weak, other, full})) == {strong, other, full}


def test_b18_a_wrong_strong_digest_beside_a_right_weak_one_fails() -> None:
    records = usable(frozenset({Tlsa(3, 1, 2, bytes(64)), LEAF.tlsa(3, 1, 1)}))
    assert why(CHAIN, *records) is TlsResult.VALIDATION_FAILURE


def test_b18_a_full_record_alone_is_kept() -> None:
    record = LEAF.tlsa(3, 1, 0)
    assert usable(frozenset({record})) == {record}


# --- usage 3 ----------------------------------------------------------------------


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching_type", [0, 1, 2])
def test_b19_dane_ee_matches_the_leaf(selector: int, matching_type: int) -> None:
    record = LEAF.tlsa(3, selector, matching_type)
    assert match(CHAIN, Tlsa(3, 1, 1, WRONG), record) == record


def test_b19_dane_ee_ignores_name_expiry_and_issuer() -> None:
    leaf = issue("whatever", days=(-30, -20))
    record = leaf.tlsa(3, 1, 1)
    assert match(chain_of(leaf), record) == record


def test_b19_dane_ee_never_matches_another_certificate_than_the_leaf() -> None:
    assert why(CHAIN, MIDDLE.tlsa(3, 1, 1)) is TlsResult.VALIDATION_FAILURE


def test_b17_no_record_never_passes() -> None:
    assert why(CHAIN) is TlsResult.VALIDATION_FAILURE


def test_usage_3_is_looked_at_before_usage_2() -> None:
    record = LEAF.tlsa(3, 1, 1)
    assert match(CHAIN, MIDDLE.tlsa(2, 0, 1), record) == record


# --- usage 2 ----------------------------------------------------------------------


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching_type", [0, 1, 2])
def test_b20_dane_ta_matches_a_presented_intermediate(
    selector: int, matching_type: int
) -> None:
    record = MIDDLE.tlsa(2, selector, matching_type)
    assert match(CHAIN, record) == record


def test_b20_dane_ta_matches_a_presented_root() -> None:
    record = ROOT.tlsa(2, 0, 1)
    assert match(chain_of(LEAF, MIDDLE, ROOT), record) == record


def test_b20_the_order_of_what_follows_the_leaf_does_not_matter() -> None:
    record = ROOT.tlsa(2, 0, 1)
    assert match(chain_of(LEAF, ROOT, MIDDLE, MIDDLE), record) == record


def test_b20_a_digest_of_a_root_that_is_not_presented_fails() -> None:
    assert why(CHAIN, ROOT.tlsa(2, 0, 1)) is TlsResult.VALIDATION_FAILURE


@pytest.mark.parametrize("selector", [0, 1], ids=["certificate", "bare key"])
def test_b20_full_data_of_a_root_that_is_not_presented_suffices(selector: int) -> None:
    record = ROOT.tlsa(2, selector, 0)
    assert match(CHAIN, record) == record


def test_b20_a_bare_key_that_signed_the_leaf_itself_suffices() -> None:
    record = MIDDLE.tlsa(2, 1, 0)
    assert match(chain_of(LEAF), record) == record


def test_b20_a_bare_key_that_signed_nothing_fails() -> None:
    stranger = issue("Test Intermediate", ca=True)
    assert why(CHAIN, stranger.tlsa(2, 1, 0)) is TlsResult.CERTIFICATE_NOT_TRUSTED


@pytest.mark.parametrize(
    "key",
    [ed25519.Ed25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()],
    ids=["ed25519", "x25519"],
)
def test_b20_a_bare_key_of_a_kind_the_library_lets_sign_nothing_fails(key) -> None:
    data = key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert why(CHAIN, Tlsa(2, 1, 0, data)) is TlsResult.VALIDATION_FAILURE


def test_b20_an_rsa_chain_passes() -> None:
    root = issue("R", ca=True, key=rsa.generate_private_key(65537, 2048))
    leaf = issue("x", root, san=(HOST.name,))
    record = root.tlsa(2, 1, 0)
    assert match(chain_of(leaf), record) == record


def test_b20_an_unrelated_leaf_with_the_real_anchor_appended_fails() -> None:
    impostor = issue(HOST.name, san=(HOST.name,))
    for record in (MIDDLE.tlsa(2, 1, 1), ROOT.tlsa(2, 0, 0), MIDDLE.tlsa(2, 1, 0)):
        chain = chain_of(impostor, MIDDLE, ROOT)
        assert why(chain, record) is TlsResult.CERTIFICATE_NOT_TRUSTED


@pytest.mark.parametrize("matching_type", [0, 1])
def test_b20_the_leaf_itself_is_no_trust_anchor(matching_type: int) -> None:
    alone = issue(HOST.name, ca=True, san=(HOST.name,))
    record = alone.tlsa(2, 0, matching_type)
    assert why(chain_of(alone), record) is TlsResult.VALIDATION_FAILURE
    assert why(chain_of(alone, alone), record) is TlsResult.VALIDATION_FAILURE


def test_b20_an_expired_leaf_fails() -> None:
    leaf = issue("x", MIDDLE, san=(HOST.name,), days=(-9, -2))
    chain = chain_of(leaf, MIDDLE)
    assert why(chain, MIDDLE.tlsa(2, 1, 1)) is TlsResult.CERTIFICATE_EXPIRED


def test_b20_a_leaf_of_tomorrow_fails() -> None:
    leaf = issue("x", MIDDLE, san=(HOST.name,), days=(1, 9))
    chain = chain_of(leaf, MIDDLE)
    assert why(chain, MIDDLE.tlsa(2, 1, 1)) is TlsResult.CERTIFICATE_EXPIRED


def test_b20_a_path_is_valid_at_the_given_instant_whatever_the_clock_says() -> None:
    root = issue("R", ca=True, days=(-20, 20))
    leaf = issue("x", root, san=(HOST.name,), days=(-9, -2))
    chain, record = chain_of(leaf, root), root.tlsa(2, 1, 1)
    assert match(chain, record, now=NOW - 5 * DAY) == record
    assert why(CHAIN, MIDDLE.tlsa(2, 1, 1), now=NOW + 90 * DAY) in {
        TlsResult.CERTIFICATE_EXPIRED
    }


def test_b20_an_expired_anchor_fails() -> None:
    root = issue("R", ca=True, days=(-9, -2))
    leaf = issue("x", root, san=(HOST.name,))
    chain = chain_of(leaf, root)
    assert why(chain, root.tlsa(2, 1, 1)) is TlsResult.CERTIFICATE_NOT_TRUSTED


@pytest.mark.parametrize("ca", [None, False], ids=["no constraints", "not a CA"])
def test_b20_an_issuer_that_is_no_ca_fails(ca: bool | None) -> None:
    issuer = issue("no CA", ca=ca)
    leaf = issue("x", issuer, san=(HOST.name,))
    chain = chain_of(leaf, issuer)
    assert why(chain, issuer.tlsa(2, 1, 1)) is TlsResult.CERTIFICATE_NOT_TRUSTED


def test_b20_an_issuer_whose_key_may_not_sign_certificates_fails() -> None:
    usage = x509.KeyUsage(True, False, False, False, False, False, True, False, False)
    issuer = issue("CA", ca=True, extensions=(usage,))
    leaf = issue("x", issuer, san=(HOST.name,))
    chain = chain_of(leaf, issuer)
    assert why(chain, issuer.tlsa(2, 1, 1)) is TlsResult.CERTIFICATE_NOT_TRUSTED


def test_c09_an_exceeded_path_length_fails() -> None:
    below = issue("below", MIDDLE, ca=True)
    leaf = issue("x", below, san=(HOST.name,))
    chain = chain_of(leaf, below, MIDDLE, ROOT)
    assert why(chain, ROOT.tlsa(2, 1, 1)) is TlsResult.CERTIFICATE_NOT_TRUSTED


def test_c09_a_chain_without_key_identifiers_and_key_usages_passes() -> None:
    usages = {type(e.value) for e in LEAF.certificate.extensions}
    assert usages == {x509.SubjectAlternativeName}
    assert match(CHAIN, MIDDLE.tlsa(2, 1, 1)) == MIDDLE.tlsa(2, 1, 1)


def test_c09_a_chain_with_everything_the_web_asks_passes() -> None:
    root = issue("R", ca=True, extensions=(_signing_usage(),))
    leaf = issue(
        "x",
        root,
        san=(HOST.name,),
        extensions=(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key()),
        ),
    )
    assert match(chain_of(leaf, root), root.tlsa(2, 1, 1)) == root.tlsa(2, 1, 1)


def _signing_usage() -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, True, True, False, False)


def test_b34_a_leaf_for_clients_only_fails() -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    leaf = issue("x", MIDDLE, san=(HOST.name,), extensions=(usage,))
    chain = chain_of(leaf, MIDDLE)
    assert why(chain, MIDDLE.tlsa(2, 1, 1)) is TlsResult.CERTIFICATE_NOT_TRUSTED


def test_c09_a_name_constraint_of_the_anchor_binds_the_leaf() -> None:
    only = x509.NameConstraints([x509.DNSName("other.nl")], None)
    root = issue("R", ca=True, extensions=(only,))
    leaf = issue("x", root, san=(HOST.name,))
    chain = chain_of(leaf, root)
    assert why(chain, root.tlsa(2, 1, 1)) is TlsResult.CERTIFICATE_NOT_TRUSTED


def test_b20_another_record_may_match_after_one_that_does_not() -> None:
    stranger = issue("S", ca=True)
    records = (stranger.tlsa(2, 0, 0), MIDDLE.tlsa(2, 1, 1), ROOT.tlsa(2, 0, 1))
    assert match(CHAIN, *records) == MIDDLE.tlsa(2, 1, 1)


@pytest.mark.parametrize(
    "broken", [b"", b"nothing", LEAF.der[:-9]], ids=["empty", "text", "cut"]
)
def test_a_presented_certificate_that_cannot_be_read_fails(broken: bytes) -> None:
    chain = Chain((LEAF.der, broken, MIDDLE.der))
    assert why(chain, MIDDLE.tlsa(2, 0, 1)) is TlsResult.VALIDATION_FAILURE


def test_a_certificate_with_an_impossible_name_fails() -> None:
    """The library reads names only when asked, so the fault shows late."""
    at = LEAF.der.index(b"\x0c\x11Test Intermediate")
    broken = LEAF.der[:at] + b"\x0c\x11" + b"\xff" * 17 + LEAF.der[at + 19 :]
    chain = Chain((broken,))
    assert why(chain, MIDDLE.tlsa(2, 1, 0)) is TlsResult.VALIDATION_FAILURE


# --- names ------------------------------------------------------------------------


def leaf_named(*san: str, name: str = "no.example", with_san: bool = True) -> Chain:
    return chain_of(issue(name, MIDDLE, san=san if with_san else None), MIDDLE)


TA = MIDDLE.tlsa(2, 1, 1)


@pytest.mark.parametrize(
    "san", ["mx1.example.nl", "MX1.Example.NL", "*.example.nl", "example.nl"]
)
def test_b21_a_name_among_the_references_passes(san: str) -> None:
    names = (HOST, RECIPIENT_DOMAIN)
    assert match(leaf_named("else.nl", san), TA, names=names) == TA


@pytest.mark.parametrize(
    "san",
    [
        "mx2.example.nl",
        "nl",
        "mx*.example.nl",
        "*1.example.nl",
        "*.nl",
        "*",
        "*.*.nl",
        "a.mx1.example.nl",
        "example.nl",
    ],
)
def test_b21_another_name_fails(san: str) -> None:
    assert why(leaf_named(san), TA) in {
        TlsResult.CERTIFICATE_HOST_MISMATCH,
        TlsResult.CERTIFICATE_NOT_TRUSTED,  # the library refuses odd wildcards itself
    }


def test_b21_a_wildcard_never_stands_for_a_whole_top_level_domain() -> None:
    chain = leaf_named("*.nl")
    assert why(chain, TA, names=(RECIPIENT_DOMAIN,)) in {
        TlsResult.CERTIFICATE_HOST_MISMATCH
    }


def test_b21_the_common_name_counts_when_no_dns_name_is_there() -> None:
    assert match(leaf_named(name=HOST.name, with_san=False), TA) == TA


def test_b21_the_common_name_counts_beside_other_kinds_of_names() -> None:
    mail = x509.SubjectAlternativeName([x509.RFC822Name("post@example.nl")])
    leaf = issue(HOST.name, MIDDLE, extensions=(mail,))
    assert match(chain_of(leaf, MIDDLE), TA) == TA


def test_b21_the_common_name_does_not_count_beside_a_dns_name() -> None:
    chain = leaf_named("else.nl", name=HOST.name)
    assert why(chain, TA) is TlsResult.CERTIFICATE_HOST_MISMATCH


def test_b21_without_any_reference_name_nothing_passes() -> None:
    assert why(CHAIN, TA, names=()) is TlsResult.CERTIFICATE_HOST_MISMATCH


def test_a_leaf_whose_extensions_cannot_be_read_bears_no_name() -> None:
    leaf = issue(HOST.name, MIDDLE, san=(HOST.name,))
    bad = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x04\x01x")
    odd = issue(HOST.name, MIDDLE, extensions=(bad,))
    assert match(chain_of(leaf, MIDDLE), TA) == TA
    assert why(chain_of(odd, MIDDLE), TA) in {
        TlsResult.CERTIFICATE_HOST_MISMATCH,
        TlsResult.CERTIFICATE_NOT_TRUSTED,
        TlsResult.VALIDATION_FAILURE,
    }


# --- a second opinion: OpenSSL's own DANE -------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    chain: tuple[Issued, ...]
    record: Tlsa
    passes: bool


SELF = issue("whatever", days=(-9, -2))
IMPOSTOR = issue(HOST.name, san=(HOST.name,))
OTHER_NAME = issue("x", MIDDLE, san=("other.nl",))
OLD = issue("x", MIDDLE, san=(HOST.name,), days=(-9, -2))
CN_ONLY = issue(HOST.name, MIDDLE)
WILD = issue("x", MIDDLE, san=("*.example.nl",))
DEEP = issue("below", MIDDLE, ca=True)
DEEP_LEAF = issue("x", DEEP, san=(HOST.name,))
CASES = {
    "3 1 1": Case((LEAF, MIDDLE), LEAF.tlsa(3, 1, 1), True),
    "3 0 2": Case((LEAF, MIDDLE), LEAF.tlsa(3, 0, 2), True),
    "3 1 1 of the issuer": Case((LEAF, MIDDLE), MIDDLE.tlsa(3, 1, 1), False),
    "3 1 1 expired self-signed": Case((SELF,), SELF.tlsa(3, 1, 1), True),
    "2 1 1": Case((LEAF, MIDDLE), MIDDLE.tlsa(2, 1, 1), True),
    "2 0 1 root presented": Case((LEAF, MIDDLE, ROOT), ROOT.tlsa(2, 0, 1), True),
    "2 0 1 root not presented": Case((LEAF, MIDDLE), ROOT.tlsa(2, 0, 1), False),
    "2 0 0 root not presented": Case((LEAF, MIDDLE), ROOT.tlsa(2, 0, 0), True),
    "2 1 0 root not presented": Case((LEAF, MIDDLE), ROOT.tlsa(2, 1, 0), True),
    "2 1 1 unrelated leaf": Case((IMPOSTOR, MIDDLE), MIDDLE.tlsa(2, 1, 1), False),
    "2 1 1 wrong name": Case((OTHER_NAME, MIDDLE), MIDDLE.tlsa(2, 1, 1), False),
    "2 1 1 expired": Case((OLD, MIDDLE), MIDDLE.tlsa(2, 1, 1), False),
    "2 1 1 common name": Case((CN_ONLY, MIDDLE), MIDDLE.tlsa(2, 1, 1), True),
    "2 1 1 wildcard": Case((WILD, MIDDLE), MIDDLE.tlsa(2, 1, 1), True),
    "2 1 1 path length": Case(
        (DEEP_LEAF, DEEP, MIDDLE, ROOT), ROOT.tlsa(2, 1, 1), False
    ),
}


@pytest.mark.peers
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_openssl_gives_the_same_answer(case: Case, tmp_path) -> None:
    (tmp_path / "chain.pem").write_bytes(b"".join(c.pem for c in case.chain))
    (tmp_path / "leaf.pem").write_bytes(case.chain[0].pem)
    (tmp_path / "key.pem").write_bytes(case.chain[0].key_pem)
    try:
        match(chain_of(*case.chain), *usable(frozenset({case.record})))
        ours = True
    except TlsFailure:
        ours = False
    assert (ours, openssl_passes(case.record, tmp_path)) == (case.passes, case.passes)


def openssl_passes(record: Tlsa, where) -> bool:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    serve = f"openssl s_server -accept 127.0.0.1:{port}"
    serve += " -cert leaf.pem -key key.pem -cert_chain chain.pem"
    server = subprocess.Popen(
        serve.split(),
        cwd=where,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        while b"ACCEPT" not in server.stdout.readline():
            pass
        data = record.data.hex()
        rrdata = f"{record.usage} {record.selector} {record.matching_type} {data}"
        ask = f"openssl s_client -connect 127.0.0.1:{port} -dane_ee_no_namechecks"
        ask += (
            f" -verify_return_error -brief -dane_tlsa_domain {HOST} -dane_tlsa_rrdata"
        )
        client = subprocess.run(
            [*ask.split(), rrdata],
            input=b"",
            capture_output=True,
            timeout=20,
        )
        return client.returncode == 0
    finally:
        server.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.communicate(timeout=5)


@pytest.mark.peers
@pytest.mark.parametrize(("digest", "passes"), [("-sha256", True), ("-sha1", False)])
def test_c09_a_sha1_signature_in_the_path_fails(digest, passes, tmp_path) -> None:
    """Made by openssl, since our library signs nothing with SHA-1 any more."""
    for name, data in (
        ("ca.pem", MIDDLE.pem),
        ("ca.key", MIDDLE.key_pem),
        ("leaf.key", LEAF.key_pem),
        ("san", b"subjectAltName=DNS:mx1.example.nl\n"),
    ):
        (tmp_path / name).write_bytes(data)
    openssl = functools.partial(subprocess.run, cwd=tmp_path, check=True)
    request = "openssl req -new -key leaf.key -subj /CN=x -out leaf.csr"
    openssl(request.split(), capture_output=True)
    sign = "openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -days 2"
    sign += f" -extfile san -outform DER -out leaf.der {digest}"
    openssl(sign.split(), capture_output=True)
    chain = Chain(((tmp_path / "leaf.der").read_bytes(), MIDDLE.der))
    # openssl dates what it signs by the clock, not by when this run began.
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)
    if passes:
        assert match(chain, TA, now=now) == TA
    else:
        assert why(chain, TA, now=now) is TlsResult.CERTIFICATE_NOT_TRUSTED
