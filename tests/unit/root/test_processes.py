"""What must hold before anything is served, and the sequencer's care for each log."""

import asyncio
import dataclasses

import pytest

from gateway import app, processes
from gateway.config import parse
from gateway.model.errors import ConfigError, EvidenceError
from gateway.model.ids import MunicipalityId
from gateway.model.job import JobState
from gateway.store.queue import SqlQueue
from tests.unit.queue import queue_desk as desk

SETTINGS = """
[gateway]
hostname = "gw.gem.example"
state_dir = "{place}/state"
[keys]
directory = "{place}/keys"
master_key_file = "{place}/master.key"
[dns]
self_test = false
[[listener]]
port = 587
tls = "starttls"
certificate = "c"
key = "k"
[[municipality]]
id = "gem"
name = "Gem"
sender_domains = ["gem.example"]
notices_from = "gw@gem.example"
[municipality.route]
method = "fixed"
host = "127.0.0.1"
least = "none"
"""


@pytest.fixture
def config(tmp_path):
    settings = parse(SETTINGS.format(place=tmp_path))
    app.create(settings)
    return settings


def put(config, *jobs):
    installation = app.Installation.open(config)

    async def write():
        async with installation.store.work() as work:
            for job in jobs:
                await work.spool.save(job.message, job.municipality, desk.OCTETS)
            await work.queue.add(*jobs)

    try:
        asyncio.run(write())
        return asyncio.run(SqlQueue(installation.store).municipalities())
    finally:
        installation.close()


def test_a_start_with_an_empty_queue_is_allowed(config):
    processes.check_start(config)


def test_a_municipality_with_waiting_mail_may_not_leave_the_settings(config):
    job = dataclasses.replace(
        desk.job("a@ggz.example"),
        municipality=MunicipalityId("weg"),
        state=JobState.READY,
    )
    assert put(config, job) == {"weg"}
    with pytest.raises(ConfigError, match="weg") as caught:
        processes.check_start(config)
    assert "queue" in caught.value.remedy


async def test_one_broken_log_does_not_stop_the_others(config):
    logged = []
    installation = app.Installation.open(config)
    try:
        sequencing = processes._Sequencing(
            installation, lambda event, **_fields: logged.append(event)
        )
        async with installation.store.work() as work:
            await work.evidence.append(
                app.config_loaded(config, installation.policy),
                dataclasses.replace(
                    app.config_loaded(config, installation.policy),
                    municipality=MunicipalityId("aaa"),
                ),
            )
        broken = app.log_origin(config, MunicipalityId("aaa"))
        integrate = sequencing.evidence.integrate

        async def failing(origin, *arguments):
            if origin == broken:
                raise EvidenceError("a leaf is gone")
            return await integrate(origin, *arguments)

        sequencing.evidence.integrate = failing
        assert await sequencing.advance() == 1
        assert logged == ["log-broken"]
    finally:
        installation.close()
