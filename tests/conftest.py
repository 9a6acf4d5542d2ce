"""What every test may ask for: a throw-away CA, and real peers that end with the test.

Peers are context managers of `tests.peers`; `start` enters them and ends them when the
test is over, `start_once` when the session of this test worker is over.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import hypothesis
import pytest

from tests import certs
from tests.peers import nsd, unbound

# Speed is measured in bench/; a busy machine is no reason for a test to fail.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

T = TypeVar("T")
Start = Callable[[contextlib.AbstractContextManager[T]], T]


@pytest.fixture(scope="session")
def ca() -> certs.Credential:
    """The root of the throw-away certification authority."""
    return certs.make_ca("Ketenmail test root")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a peer for this test: `sink = start(postfix.sink("partner.test"))`."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture(scope="session")
def start_once() -> Iterator[Start]:
    """Start a peer for all tests of this worker."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture(scope="session")
def zones(start_once: Start) -> nsd.Zones:
    """NSD with the signed apex `test`; each test adds zones with names of its own."""
    return start_once(nsd.serve("test"))


@pytest.fixture(scope="session")
def resolver(start_once: Start, zones: nsd.Zones) -> unbound.Unbound:
    """Unbound that validates what `zones` serves; `flush()` it after changes."""
    return start_once(unbound.resolve(zones))
