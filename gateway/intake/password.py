"""Passwords of clients, kept as argon2id hashes only (A-31, A-52).

A wrong password and an unknown user take the same work: for the latter a hash with the
costliest parameters in use is checked, that no password fits.
"""

import secrets
from collections.abc import Mapping

import argon2

from gateway.model.errors import ConfigError

_MAX_OCTETS = 1024  # longer ones are no password and would only cost time


class Passwords:
    """The hashes by user."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """Check the hashes.

        Raises:
            ConfigError: For one that is not argon2id.
        """
        self._hashes = dict(hashes)
        self._hasher = argon2.PasswordHasher()
        parameters = [_parameters(user, text) for user, text in hashes.items()]
        self._nobody: str | None = None
        if parameters:
            costliest = max(parameters, key=lambda p: p.memory_cost * p.time_cost)
            hasher = argon2.PasswordHasher.from_parameters(costliest)
            self._nobody = hasher.hash(secrets.token_bytes(32))

    def verify(self, user: str, password: bytes) -> bool:
        """Whether this is the user's password. Slow on purpose: call it in a thread."""
        found = self._hashes.get(user, self._nobody)
        if found is None or len(password) > _MAX_OCTETS:
            return False
        try:
            self._hasher.verify(found, password)
        except argon2.exceptions.VerifyMismatchError:
            return False  # any other failure is ours, and is told so
        return user in self._hashes


def _parameters(user: str, text: str) -> argon2.Parameters:
    place = f"password hash of user {user}"
    remedy = "write one hash that begins with $argon2id$"
    try:
        parameters = argon2.extract_parameters(text)
    except argon2.exceptions.InvalidHashError as error:
        raise ConfigError(place, "is no argon2 hash", remedy) from error
    if parameters.type is not argon2.Type.ID:
        raise ConfigError(place, "is not argon2id", remedy)
    return parameters
