"""The one door for time, chance and identifiers; everybody else gets them as values."""

import datetime
import secrets


def now() -> datetime.datetime:
    """The present instant, aware UTC."""
    return datetime.datetime.now(datetime.UTC)  # noqa: TID251 - this is the door


def new_id() -> str:
    """A fresh random identifier: 26 characters of lower-case base 32, 130 bits."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    return "".join(secrets.choice(alphabet) for _ in range(26))
