"""Ketenmail: a secure interoperable mail gateway for Dutch municipalities.

The way of a message is on one page: `gateway/relay.py`. What each room promises is in
its module docstring; which room may know which is in `pyproject.toml`.
"""

VERSION = "0.1.0"
