import pytest

from gateway.delivery import codes
from gateway.model.assurance import TlsResult


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (TlsResult.STARTTLS_NOT_SUPPORTED, "K403"),
        (TlsResult.CERTIFICATE_HOST_MISMATCH, "K404"),
        (TlsResult.CERTIFICATE_EXPIRED, "K404"),
        (TlsResult.CERTIFICATE_NOT_TRUSTED, "K404"),
        (TlsResult.VALIDATION_FAILURE, "K404"),
        (TlsResult.TLSA_INVALID, "K404"),
        (TlsResult.DNSSEC_INVALID, "K402"),
        (TlsResult.DANE_REQUIRED, "K412"),
        (TlsResult.PIN_MISMATCH, "K405"),
    ],
)
def test_each_tls_result_has_its_code(result: TlsResult, code: str) -> None:
    assert codes.code_of(result) == code


def test_no_code_has_two_meanings() -> None:
    numbers = [v for k, v in vars(codes).items() if k.isupper()]
    assert sorted(numbers) == [f"K4{n:02}" for n in range(1, 16)]
