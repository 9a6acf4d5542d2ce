import hashlib
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.model.assurance import TlsResult
from gateway.model.errors import TlsFailure
from gateway.trust.chain import Chain, spki_of
from tests.unit.trust.issuing import issue


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    ran = subprocess.run(
        ["openssl", *arguments], input=given, capture_output=True, check=True
    )
    return ran.stdout


def test_a_chain_without_certificates_does_not_exist() -> None:
    with pytest.raises(TlsFailure) as failure:
        Chain(())
    assert failure.value.result is TlsResult.VALIDATION_FAILURE


@pytest.mark.parametrize("certificate", [b"", b"\x30\x00", b"not DER"])
def test_a_leaf_that_is_no_certificate_fails_validation(certificate: bytes) -> None:
    with pytest.raises(TlsFailure) as failure:
        _ = Chain((certificate,)).spki_sha256
    assert failure.value.result is TlsResult.VALIDATION_FAILURE


def test_a_version_that_no_certificate_has_fails_validation() -> None:
    """The library has an exception of its own for it; a peer may send what it likes."""
    der = issue("x.example").der
    strange = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    assert strange != der
    with pytest.raises(TlsFailure) as failure:
        _ = Chain((strange,)).spki_sha256
    assert failure.value.result is TlsResult.VALIDATION_FAILURE


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "ed25519", "rsa"],
)
def test_the_key_is_what_the_library_says_it_is(key) -> None:
    signer = issue("signer", ca=True)
    certificate = issue("leaf", signer, key=key)
    chain = Chain((certificate.der, signer.der))
    assert spki_of(certificate.der) == certificate.spki
    assert chain.spki_sha256 == hashlib.sha256(certificate.spki).hexdigest()
    assert chain.fingerprint == hashlib.sha256(certificate.der).hexdigest()
    assert chain.leaf == certificate.der


@pytest.mark.peers
@pytest.mark.parametrize(
    "key",
    [
        ("EC", "ec_paramgen_curve:P-256", "-outform", "compressed"),
        ("RSA-PSS", "rsa_keygen_bits:2048", "", ""),
    ],
    ids=["compressed-point", "rsa-pss"],
)
def test_an_unusual_key_encoding_is_cut_out_as_openssl_sees_it(key, tmp_path) -> None:
    """A library that writes the key anew would give another digest."""
    kind, option, _, form = key
    path = tmp_path / "key.pem"
    path.write_bytes(openssl("genpkey", "-algorithm", kind, "-pkeyopt", option))
    if form:
        path.write_bytes(openssl("ec", "-in", str(path), "-conv_form", form))
    request = ("req", "-x509", "-key", str(path), "-subj", "/CN=x", "-days", "1")
    pem = openssl(*request)
    der = openssl("x509", "-outform", "DER", given=pem)
    public = openssl("x509", "-noout", "-pubkey", given=pem)
    expected = openssl("asn1parse", "-noout", "-out", "/dev/stdout", given=public)
    assert spki_of(der) == expected
