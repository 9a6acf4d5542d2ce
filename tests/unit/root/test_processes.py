"""What must hold before anything is served, and the sequencer's care for each log."""

import asyncio
import dataclasses

import pytest

from gateway import app, metrics, processes
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


async def test_a_sequencer_whose_store_saw_an_io_error_ends_to_be_started_again(
    config, monkeypatch
):
    """G-01: it may not go on beside a database that it cannot trust."""
    opened = []
    open_really = app.Installation.open

    def remember(settings):
        opened.append(open_really(settings))
        return opened[-1]

    monkeypatch.setattr(app.Installation, "open", remember)
    stopping = asyncio.Event()
    running = asyncio.create_task(
        processes.sequence(config, "sequencer", stopping, metrics.Board())
    )
    async with asyncio.timeout(20):
        while not opened:
            await asyncio.sleep(0.01)
        opened[0].store._broken = True
        assert await running == 3
