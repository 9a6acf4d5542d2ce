"""The command line, for administrators and auditors; see design section 11.

Each module holds the verbs of one subject and imports what it needs inside the command,
so that `ketenmail --help` is there at once.
"""

from gateway.cli.root import main

__all__ = ["main"]
