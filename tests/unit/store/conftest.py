import pytest

from gateway.store.evidence import SqlEvidence
from gateway.store.queue import SqlQueue
from gateway.store.spool import SqlSpool
from tests.contract.store_bed import Bed


@pytest.fixture
def bed(tmp_path):
    bed = Bed(tmp_path).prepare()
    yield bed
    bed.close()


@pytest.fixture
def store(bed):
    return bed.open()


@pytest.fixture
def queue(store):
    return SqlQueue(store)


@pytest.fixture
def spool(store):
    return SqlSpool(store)


@pytest.fixture
def evidence(store):
    return SqlEvidence(store, "sequencer")
