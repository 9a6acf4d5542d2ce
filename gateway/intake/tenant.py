"""For whom a shared service sends: the field by which it names its customer (A-34).

Microsoft 365 shows all its customers' mail servers with one certificate, and writes the
customer into the header. It takes out what its customers write there themselves, so a
field that is there once and has the right value is the service's word. Where it is not
there, or twice, the message is nobody's.
"""

import re
from collections.abc import Sequence

from gateway.intake.clients import Known
from gateway.parties import Client, Tenant

_FOLD = re.compile(rb"\r\n(?=[ \t])")


def check_tenant(header: bytes, tenant: Tenant) -> bool:
    """Whether the header has exactly one such field, with exactly that value.

    Args:
        header: Fields with CR LF; what stands behind an empty line is not looked at.
        tenant: Whose it must be.
    """
    return _values(header, tenant.header) == [tenant.value.encode()]


def choose_by_tenant(header: bytes, candidates: Sequence[Client]) -> Client | None:
    """The only one of these clients that the header names, if there is one."""
    named = [
        client
        for client in candidates
        if client.tenant is not None and check_tenant(header, client.tenant)
    ]
    return named[0] if len(named) == 1 else None


def settle(known: Known, header: bytes) -> Known | None:
    """Who the client is, now that the header is known.

    A client without tenant is who it was before.

    Returns:
        Without candidates; None when the header does not name a tenant as it must.
    """
    if known.candidates:
        client = choose_by_tenant(header, known.candidates)
        return None if client is None else known.decided(client)
    tenant = known.client.tenant
    if tenant is not None and not check_tenant(header, tenant):
        return None
    return known


def _values(header: bytes, name: str) -> list[bytes]:
    block = header.partition(b"\r\n\r\n")[0].removeprefix(b"\r\n")
    found = []
    for line in _FOLD.sub(b"", block).split(b"\r\n"):
        field, colon, value = line.partition(b":")
        if colon and field.rstrip(b" \t").lower() == name.encode():
            found.append(value.strip(b" \t"))
    return found
