import pathlib
import ssl

import pytest

import gateway
from gateway.net.tls import client_context, presented_chain
from tests.unit.trust.issuing import make_pki

PKI = make_pki()
DERS = (PKI.leaf.der, PKI.intermediate.der)


def test_c01_c06_the_context_has_what_the_guideline_asks() -> None:
    context = client_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION, ssl.OP_NO_TICKET):
        assert context.options & option


def test_c02_only_ecdhe_with_aead_is_offered() -> None:
    names = {cipher["name"] for cipher in client_context().get_ciphers()}
    assert "ECDHE-ECDSA-AES256-GCM-SHA384" in names
    for name in names:
        assert name.startswith(("ECDHE-", "TLS_"))
        assert "GCM" in name or "CHACHA20" in name


def test_c12_no_key_log_is_written_whatever_the_environment_says(
    monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert client_context().keylog_filename is None


def test_c07_one_module_alone_builds_an_unverified_context() -> None:
    root = pathlib.Path(gateway.__file__).parent
    found = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if any(
            word in path.read_text(encoding="utf-8")
            for word in ("CERT_NONE", "_create_unverified")
        )
    ]
    assert found == ["net/tls.py"]


class _Public:
    """As from Python 3.13 on."""

    def __init__(self, answer) -> None:
        self.get_unverified_chain = lambda: answer


class _Inner:
    """As in Python 3.10 to 3.12."""

    def __init__(self, answer) -> None:
        self._sslobj = _Public(answer)


class _Certificate:
    def __init__(self, der: bytes) -> None:
        self._der = der

    def public_bytes(self) -> str:
        return ssl.DER_cert_to_PEM_cert(self._der)


@pytest.mark.parametrize(
    ("session", "chain"),
    [
        (_Public(list(DERS)), DERS),
        (_Public(None), ()),
        (_Inner(list(map(_Certificate, DERS))), DERS),
        (_Inner(None), ()),
    ],
)
def test_c08_the_chain_is_found_in_each_python(session, chain) -> None:
    assert presented_chain(session) == chain
