"""Writes what the self-test finds in a process of its own: OpenSSL reads its settings once.

Arguments are Python statements that may change `server` and `client` before.
"""

import ssl
import sys

from gateway.net import tls
from gateway.trust import keystore, selftest


def changed(name, context):
    for statement in sys.argv[1:]:
        if name in statement:
            exec(statement, {name: context, "ssl": ssl})
    return context


found = selftest.find_weakness(
    lambda: changed("server", keystore.listener_context()),
    lambda: changed("client", tls.client_context()),
)
sys.stdout.write(f"{found}\n")
