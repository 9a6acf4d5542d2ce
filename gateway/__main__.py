"""Runs the command line: `ketenmail` and `python -m gateway`."""

from gateway.trust import hardening


def main() -> None:
    """The entry point: first OpenSSL's configuration, then the verb."""
    hardening.reenter()
    from gateway.cli import main as run  # noqa: PLC0415 - not loaded twice

    run()


if __name__ == "__main__":
    main()
