"""The error families. Expected answers are values; these are broken promises.

Public text names no host, path or library; the private detail is for the log.
"""

from gateway.model.assurance import TlsResult


class GatewayError(Exception):
    """Root of all errors of ours."""


class ConfigError(GatewayError):
    """A setting that cannot be used: names the file, the key and the remedy."""

    def __init__(self, place: str, problem: str, remedy: str) -> None:
        super().__init__(f"{place}: {problem} ({remedy})")
        self.place = place
        self.problem = problem
        self.remedy = remedy


class RulebookError(ConfigError):
    """A rule pack or decision row that cannot be used; start or reload is refused."""


class RegistryError(ConfigError):
    """A partner file that cannot be applied; nothing of it was."""


class TemporaryFailure(GatewayError):  # noqa: N818 - the field's word
    """A door could not do its work now; trying again may help. Answered 4xx."""


class LeaseLost(GatewayError):  # noqa: N818
    """Another worker holds the job now: this result may not be written (G-07, G-08)."""


class StoreFull(TemporaryFailure):
    """No room to store safely: answered 452 4.3.1 (G-15)."""


class EvidenceError(GatewayError):
    """The log cannot be written or does not verify: stop accepting mail."""


class TlsFailure(GatewayError):  # noqa: N818
    """A hop may not be used; `result` says why, `detail` is for evidence."""

    def __init__(self, result: TlsResult, detail: str) -> None:
        super().__init__(f"{result.value}: {detail}")
        self.result = result
        self.detail = detail
