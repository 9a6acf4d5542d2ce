"""OpenSSL's settings for every process of the gateway, and who may change them.

`ssl` cannot restrict groups and signature algorithms before Python 3.15 (C-10), so a
file does it that OpenSSL reads once, when a process first uses it. `reenter` starts the
program anew with that file in its environment: then it is in force from the first
instruction on, whatever was imported before, and in every child. Why so: ADR 0008.

That the file says so is not enough (C-04); `gateway.trust.selftest` sees whether it is
in force. This module imports little: it runs before everything else.
"""

import os
import pathlib
import sys
from collections.abc import Mapping

_CONFIGURATION, _KEY_LOG = "OPENSSL_CONF", "SSLKEYLOGFILE"
_KNOWS_HYBRIDS = (3, 5)
# What was freed goes back to the system: left to itself glibc keeps the greatest
# message that each of a dozen threads ever read. The administrator's own values win.
_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
_OUTSIDE = os.environ  # noqa: TID251 - OpenSSL's settings have no other door


def configuration(version: tuple[int, ...]) -> pathlib.Path:
    """The file for a version of OpenSSL, as in `ssl.OPENSSL_VERSION_INFO`."""
    name = "openssl-3.5.cnf" if version[:2] >= _KNOWS_HYBRIDS else "openssl-3.0.cnf"
    return pathlib.Path(__file__).resolve().with_name(name)


def reenter() -> None:
    """Start this program anew with our configuration; returns when it has one already.

    Process id, descriptors and arguments stay. Somebody else's configuration is left as
    it is, for `foreign_configuration` to find; so this never happens twice.
    """
    if _OUTSIDE.get(_CONFIGURATION) or not sys.executable:
        return
    environment = {**_MEMORY, **_OUTSIDE, _CONFIGURATION: str(_ours())}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def key_log(environment: Mapping[str, str] = _OUTSIDE) -> str | None:
    """Where the keys of all sessions would be written down (C-12)."""
    return environment.get(_KEY_LOG) or None


def foreign_configuration(environment: Mapping[str, str] = _OUTSIDE) -> str | None:
    """The configuration of OpenSSL that is named and is not ours (C-03)."""
    found = environment.get(_CONFIGURATION) or None
    return None if found == str(_ours()) else found


def _ours() -> pathlib.Path:
    import ssl  # noqa: PLC0415 - the command line shall be there at once

    return configuration(ssl.OPENSSL_VERSION_INFO)
