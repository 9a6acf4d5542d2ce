"""DANE: a chain against TLSA records (RFC 6698, 7671, 7672).

Usage 3 looks at the leaf's octets and at nothing else. Usage 2 wants a path from the
leaf to the trust anchor: signatures, validity, basicConstraints and path length are
checked by `cryptography.x509.verification`, the name by `_names_match`. Its web profile
is relaxed for extensions only, so that a private CA without key identifiers or extended
key usage passes; what it does not accept (SHA-1, RSA below 2048, Ed25519) fails.
Usages 0 and 1 never count (RFC 7672 3.1.3).
"""

import datetime
import hashlib
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from gateway.model.address import Domain
from gateway.model.assurance import TlsResult
from gateway.model.destination import Tlsa
from gateway.model.errors import TlsFailure
from gateway.trust.chain import Chain, spki_of

_TA, _EE = 2, 3
_WHOLE, _SPKI = 0, 1
_FULL, _SHA256, _SHA512 = 0, 1, 2
_LENGTHS = {_SHA256: 32, _SHA512: 64}
_ONE_DAY = datetime.timedelta(days=1)


def usable(records: frozenset[Tlsa]) -> frozenset[Tlsa]:
    """Keep the records that count, and of several digests the strongest (B-16, B-18).

    Args:
        records: The RRset as published; DNSSEC-secure, which the caller knows.

    Returns:
        Usage 2 or 3, selector 0 or 1, well-formed data; per usage and selector only the
        strongest digest, and each record with full data. May be empty.

    Source: RFC 7672 3.1.3, RFC 7671 section 9.
    """
    formed = frozenset(r for r in records if _is_formed(r))
    strongest = {
        (r.usage, r.selector): max(
            s.matching_type
            for s in formed
            if (s.usage, s.selector) == (r.usage, r.selector)
        )
        for r in formed
    }
    return frozenset(
        r for r in formed if r.matching_type in {_FULL, strongest[r.usage, r.selector]}
    )


def _is_formed(record: Tlsa) -> bool:
    if record.usage not in {_TA, _EE} or record.selector not in {_WHOLE, _SPKI}:
        return False
    if record.matching_type == _FULL:
        return _is_full_data(record)
    return len(record.data) == _LENGTHS.get(record.matching_type)


def _is_full_data(record: Tlsa) -> bool:
    try:
        if record.selector == _WHOLE:
            x509.load_der_x509_certificate(record.data)
        else:
            serialization.load_der_public_key(record.data)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return False
    return True


def match_tlsa(
    chain: Chain,
    records: frozenset[Tlsa],
    reference_names: tuple[Domain, ...],
    now: datetime.datetime,
) -> Tlsa:
    """Find the TLSA record that vouches for this chain.

    Args:
        chain: As presented, leaf first.
        records: What `usable` kept; an empty set never passes.
        reference_names: For usage 2: the leaf must bear one of them (B-21).
        now: For usage 2: the instant at which the path must be valid.

    Returns:
        The record that matched; usage 3 before usage 2.

    Raises:
        TlsFailure: When none matches: `certificate-host-mismatch` or
            `certificate-expired` when that alone was missing, else
            `validation-failure`.

    Source: RFC 7672 section 3.1. For usage 3, names and dates are not looked at.
    """
    for record in sorted(r for r in records if r.usage == _EE):
        if _matches(record, chain.leaf):
            return record
    failure = TlsFailure(
        TlsResult.VALIDATION_FAILURE, f"none of {len(records)} TLSA records matches"
    )
    for record in sorted(r for r in records if r.usage == _TA):
        try:
            if _has_anchored_path(record, chain, reference_names, now):
                return record
        except TlsFailure as error:
            failure = error
    raise failure


def _has_anchored_path(
    record: Tlsa,
    chain: Chain,
    reference_names: tuple[Domain, ...],
    now: datetime.datetime,
) -> bool:
    """Whether one of the record's anchors carries the leaf; raises the last reason."""
    failure: TlsFailure | None = None
    try:
        for anchor in _anchors(record, chain, now):
            try:
                _verify_path(chain, anchor, reference_names, now)
            except TlsFailure as error:
                failure = error
            else:
                return True
    except (ValueError, x509.InvalidVersion) as error:  # names, dates: when asked
        failure = _unreadable()
        failure.__cause__ = error
    if failure is not None:
        raise failure
    return False


def _matches(record: Tlsa, certificate: bytes) -> bool:
    selected = certificate if record.selector == _WHOLE else spki_of(certificate)
    return _digest(record.matching_type, selected) == record.data


def _digest(matching_type: int, data: bytes) -> bytes:
    match matching_type:
        case 0:
            return data
        case 1:
            return hashlib.sha256(data).digest()
        case _:
            return hashlib.sha512(data).digest()


def _anchors(
    record: Tlsa, chain: Chain, now: datetime.datetime
) -> Iterator[x509.Certificate]:
    """Trust anchors that the record stands for: never the leaf itself (B-20)."""
    for certificate in dict.fromkeys(chain.certificates[1:]):
        if certificate != chain.leaf and _matches(record, certificate):
            yield _load(certificate)
    if record.matching_type != _FULL:
        return
    if record.selector == _SPKI:
        yield from _bare_key_anchors(record.data, chain, now)
    elif record.data != chain.leaf:
        yield _load(record.data)


def _bare_key_anchors(
    spki: bytes, chain: Chain, now: datetime.datetime
) -> Iterator[x509.Certificate]:
    """Certificates of our own making that carry a bare trust-anchor key (2 1 0).

    RFC 7671 5.2.3 lets the key itself be the anchor. Its name is whatever the presented
    certificates say their issuer is called; who signs it is of no consequence, for the
    signature of an anchor is never looked at.
    """
    key = serialization.load_der_public_key(spki)
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return  # the library's profile lets no other key sign certificates
    nobody = ec.derive_private_key(1, ec.SECP256R1())
    for issuer in dict.fromkeys(_load(c).issuer for c in chain.certificates):
        yield (
            x509.CertificateBuilder()
            .subject_name(issuer)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(1)
            .not_valid_before(now - _ONE_DAY)
            .not_valid_after(now + _ONE_DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(nobody, hashes.SHA256())
        )


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(certificate)
    except (ValueError, x509.InvalidVersion) as error:
        raise _unreadable() from error


def _unreadable() -> TlsFailure:
    return TlsFailure(
        TlsResult.VALIDATION_FAILURE, "a presented certificate cannot be read"
    )


def _verify_path(
    chain: Chain,
    anchor: x509.Certificate,
    reference_names: tuple[Domain, ...],
    now: datetime.datetime,
) -> None:
    leaf, *others = map(_load, chain.certificates)
    verifier = (
        PolicyBuilder()
        .store(Store([anchor]))
        .time(now)
        .extension_policies(ca_policy=_ca_policy(), ee_policy=_leaf_policy())
        .build_client_verifier()  # the name is ours to check: a CN may count (B-21)
    )
    try:
        verifier.verify(leaf, [c for c in others if c != anchor])
    except VerificationError as error:
        in_time = leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc
        raise TlsFailure(
            TlsResult.CERTIFICATE_NOT_TRUSTED
            if in_time
            else TlsResult.CERTIFICATE_EXPIRED,
            "the chain does not lead to the trust anchor",
        ) from error
    if not _names_match(leaf, reference_names):
        raise TlsFailure(
            TlsResult.CERTIFICATE_HOST_MISMATCH,
            "the certificate bears none of the names of the host",
        )


def _ca_policy() -> ExtensionPolicy:
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
    )


def _may_sign(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.KeyUsage | None
) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("the issuer's key may not sign certificates")


def _leaf_policy() -> ExtensionPolicy:
    return ExtensionPolicy.permit_all().may_be_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _may_serve
    )


def _may_serve(
    _policy: Policy,
    _certificate: x509.Certificate,
    extension: x509.ExtendedKeyUsage | None,
) -> None:
    allowed = {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
    if extension is not None and not allowed & set(extension):
        raise ValueError("the certificate is not for servers")


def _names_match(leaf: x509.Certificate, references: tuple[Domain, ...]) -> bool:
    """Whether the leaf bears a reference name: SAN dNSName, or CN without any (B-21).

    A wildcard stands for one whole left-most label.
    """
    presented = {name.lower() for name in _presented_names(leaf)}
    accepted = set()
    for reference in references:
        accepted.add(reference.name)
        _, _, parent = reference.name.partition(".")
        if "." in parent:  # nobody serves a whole top-level domain
            accepted.add(f"*.{parent}")
    return bool(presented & accepted)


def _presented_names(leaf: x509.Certificate) -> list[str]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    if names:
        return names
    attributes = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [str(attribute.value) for attribute in attributes]
