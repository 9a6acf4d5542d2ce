"""The contracts of queue, unit and spool, held by the SQL store on SQLite."""

import pytest

from gateway.store.evidence import SqlEvidence
from gateway.store.queue import SqlQueue
from gateway.store.spool import SqlSpool
from tests.contract.queue_contract import QueueContract
from tests.contract.spool_contract import SpoolContract
from tests.contract.store_bed import Bed
from tests.contract.work_contract import WorkContract


class OnSqlite:
    @pytest.fixture
    def store(self, tmp_path):
        bed = Bed(tmp_path).prepare()
        yield bed.open()
        bed.close()

    @pytest.fixture
    def queue(self, store):
        return SqlQueue(store)

    @pytest.fixture
    def spool(self, store):
        return SqlSpool(store)

    @pytest.fixture
    def evidence(self, store):
        return SqlEvidence(store, "sequencer")


class TestQueueOnSqlite(OnSqlite, QueueContract):
    pass


class TestWorkOnSqlite(OnSqlite, WorkContract):
    pass


class TestSpoolOnSqlite(OnSqlite, SpoolContract):
    pass
