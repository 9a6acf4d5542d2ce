import pytest
from evidence_log import Log, make_log


@pytest.fixture
def log() -> Log:
    return make_log(7)


@pytest.fixture
def forger() -> Log:
    """Somebody else's key, for a log with the same origin."""
    return make_log(7, b"forger")
