"""`init`, `serve` and `doctor`."""

import contextlib
import errno
import os
import pathlib
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from gateway.cli import examination, fault
from gateway.cli.help import Verb
from gateway.cli.output import DONE, FAILED, NO, USAGE, Speaker, speaker_of
from gateway.config import Config
from gateway.model.errors import ConfigError

Json = Annotated[bool, typer.Option("--json")]
_PORT_WITHIN_S = 5.0
_EXAMPLE_HOST = "ketenmail.voorbeeldstad.example"


def init(
    context: typer.Context,
    hostname: Annotated[str, typer.Option()] = _EXAMPLE_HOST,
    json: Json = False,
) -> None:
    """Create settings, keys and database; what is there stays as it is."""
    from gateway import app

    speaker = speaker_of(context, json=json)
    made, kept = [], []
    path = pathlib.Path(speaker.config_path)
    if path.exists():
        kept.append(str(path))
    else:
        _write_settings(speaker, path, hostname)
        made.append(str(path))
    config = app.load_config(str(path))
    _refuse_a_second_log(speaker, config)
    made += app.create(config)
    for what in kept:
        speaker.say(speaker.word("init.kept", what=what))
    for what in made:
        speaker.say(speaker.word("init.created", what=what))
    found = examination.to_be_filled_in(speaker, config)
    todo = [one for one in found if one.level != "ok"]
    speaker.say("\n" + speaker.word("init.todo", path=path))
    steps = [f"{one.where}: {one.detail}. {one.remedy}" for one in todo]
    steps += [
        speaker.word(f"init.{step}", command=f"ketenmail --config {path}")
        for step in ("check", "partners", "start")
    ]
    for number, step in enumerate(steps, 1):
        speaker.say(f"  {number}. {step}")
    if os.geteuid() == 0:
        names = (path, config.master_key, config.key_dir, config.state_dir)
        places = " ".join(map(str, names))
        speaker.say("\n" + speaker.word("init.as_root", places=places))
    speaker.give(
        {"created": made, "kept": kept, "todo": [one.as_json() for one in todo]}
    )


def _write_settings(speaker: Speaker, path: pathlib.Path, hostname: str) -> None:
    """The example settings with this host's name and folders beside the file.

    A file that could not be used is not written.
    """
    from gateway import app
    from gateway.config import parse

    example = app.data_folder("policies").joinpath("gateway.example.toml")
    text = example.read_text(encoding="utf-8").replace(_EXAMPLE_HOST, hostname)
    folder = path.absolute().parent
    if folder != pathlib.Path("/etc/ketenmail"):
        plain = str(folder).replace("\\", "\\\\").replace('"', '\\"')
        for shipped, beside in (
            ("/var/lib/ketenmail-keys", "keys"),
            ("/var/lib/ketenmail", "state"),
            ("/etc/ketenmail", ""),
        ):
            text = text.replace(shipped, f"{plain}/{beside}".rstrip("/"))
    try:
        parse(text)
    except ConfigError as error:
        if error.place != "gateway.hostname":
            raise
        speaker.refuse(USAGE, "no_hostname", f"--hostname {hostname}")
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _refuse_a_second_log(speaker: Speaker, config: Config) -> None:
    """A log that has a key and no database was lost: going on anew would be a fork.

    Whoever holds a checkpoint of the old log could prove that there are two (R5).
    """
    from gateway import app
    from gateway.store.engine import database_path

    path = database_path(config.store_url)
    if _has_tables(path):
        return
    ours = {app.log_origin(config, owner) for owner in config.municipalities}
    for public in pathlib.Path(config.key_dir).glob("log/*.pub"):
        origin = public.read_text(encoding="ascii").partition("+")[0]
        if origin in ours:
            speaker.refuse(
                FAILED, "lost_database", str(path), origin=origin, keys=config.key_dir
            )


def _has_tables(path: pathlib.Path) -> bool:
    """Whether a database was ever brought to our form; makes no file."""
    from pysqlite3 import dbapi2

    if not path.exists():
        return False
    question = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
    with contextlib.closing(dbapi2.connect(path.as_uri() + "?mode=ro", uri=True)) as db:
        try:
            return bool(db.execute(question).fetchone()[0])
        except dbapi2.DatabaseError:
            return True  # it is something: to be judged when it is opened


def serve(context: typer.Context, json: Json = False) -> None:
    """Run the gateway until SIGTERM; its log is JSON in any case."""
    from gateway import app, metrics, processes, telemetry
    from gateway.supervisor import Main, Supervisor

    speaker = speaker_of(context, json=json)
    check_environment(speaker)
    running = False
    board = metrics.Board()  # for as long as we run, whoever of us dies

    def load() -> list[tuple[str, Main]]:
        """The processes of the settings as they are now; also run at each reload."""
        nonlocal running
        try:
            config = app.load_config(speaker.config_path)
            processes.check_start(config)
            app.load_hashes(config.clients)
            _check_listeners(speaker, config)
            if not running:
                check_tls(speaker)
                _check_ports(speaker, config)
        except Exception as error:
            if running:  # the supervisor keeps the old ones; say here what is wrong
                fault.tell(speaker, error)
            raise
        running = True
        return processes.processes(config, board)

    log = telemetry.make_log(board.row("supervisor").count, worker="supervisor")
    speaker.end(Supervisor(load, log).run())


def check_environment(speaker: Speaker) -> None:
    """Refuse what makes TLS weaker than we say, or lets somebody read along (C-12)."""
    from gateway.trust import hardening

    if found := hardening.key_log():
        speaker.refuse(USAGE, "tls_key_log", f"SSLKEYLOGFILE={found}")
    if found := hardening.foreign_configuration():
        speaker.refuse(USAGE, "tls_foreign", f"OPENSSL_CONF={found}")


def check_tls(speaker: Speaker) -> None:
    """Refuse when our limits for TLS are not in force (C-04)."""
    from gateway import processes
    from gateway.trust import hardening

    if found := processes.find_tls_weakness():
        library = ssl.OPENSSL_VERSION
        path = hardening.configuration(ssl.OPENSSL_VERSION_INFO)
        speaker.refuse(FAILED, "tls_weak", library, weakness=found, path=path)


def _check_listeners(speaker: Speaker, config: Config) -> None:
    """A certificate that cannot be used would end each worker as soon as it starts."""
    for finding in examination.look_at_certificates(speaker, config):
        if finding.level == "fail":
            raise ConfigError(finding.where, finding.detail, finding.remedy)


def _check_ports(speaker: Speaker, config: Config) -> None:
    """Refuse a port that is not free: workers share it, with whoever else has it."""
    for number, listener in enumerate(config.listeners, 1):
        place = f"listener[{number}] {listener.address}:{listener.port}"
        try:
            _bind_once(listener.address, listener.port)
        except PermissionError:
            speaker.refuse(USAGE, "no_port", place)
        except OSError as error:
            error.filename = place
            raise


def _bind_once(address: str, port: int) -> None:
    """Have the port for a moment; who was just ended gets a little time to let go."""
    deadline = time.monotonic() + _PORT_WITHIN_S
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        with contextlib.closing(socket.socket(family)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise
            else:
                return
        time.sleep(0.1)


def doctor(context: typer.Context, json: Json = False) -> None:
    """Examine the installation."""
    speaker = speaker_of(context, json=json)
    findings = examination.examine(speaker)
    show_findings(speaker, findings)
    fails = sum(f.level == "fail" for f in findings)
    warns = sum(f.level == "warn" for f in findings)
    speaker.say("\n" + speaker.word("doctor.summary", fails=fails, warns=warns))
    speaker.give([finding.as_json() for finding in findings])
    speaker.end(NO if fails else DONE)


def show_findings(speaker: Speaker, findings: Iterable[examination.Finding]) -> None:
    """A line for each; below it the remedy, where there is one."""
    words = {level: speaker.word(f"level.{level}") for level in ("ok", "warn", "fail")}
    remedy = speaker.word("error.remedy")
    width = max(map(len, words.values()))
    for one in findings:
        speaker.say(f"{words[one.level]:<{width}}  {one.where}: {one.detail}")
        if one.remedy:
            speaker.say(f"{'':<{width}}  {remedy}: {one.remedy}")


def add_to(app: typer.Typer) -> None:
    """Give the root its verbs."""
    app.command(cls=Verb)(init)
    app.command(cls=Verb)(serve)
    app.command(cls=Verb)(doctor)
