"""Back-off over sessions for who guesses passwords (A-52)."""

import tracemalloc

from gateway.intake.guesses import (
    ACCOUNT_WAIT_S,
    FORGET_S,
    FREE_FAILURES,
    REMEMBERED,
    SITE_WAIT_S,
    Guesses,
)
from tests.unit.intake.intake_desk import IMPLICIT, USER, settings
from tests.unit.intake.test_intake_session import plain

SITE, OTHER = "192.0.2.1", "198.51.100.7"


def fail(counted, address, user, times, now=0.0):
    for _ in range(times):
        counted.failed(address, user, now)


def test_a52_nobody_waits_before_the_free_failures_and_then_each_doubles():
    counted = Guesses()
    fail(counted, SITE, "a", FREE_FAILURES - 1)
    assert not counted.must_wait(SITE, "a", 0.0)
    waits = []
    for _ in range(12):
        fail(counted, SITE, "a", 1)
        waits.append(
            next(t for t in range(2000) if not counted.must_wait(SITE, "a", t))
        )
    assert waits == [10, 20, 40, 80, 160, 320, 640, *[900] * 5]


def test_a52_a_site_waits_for_every_account_and_other_sites_do_not():
    counted = Guesses()
    for number in range(40):
        counted.failed(SITE, f"user{number}", 0.0)
    assert counted.must_wait(SITE, "never-seen", SITE_WAIT_S - 1)
    assert not counted.must_wait(SITE, "never-seen", SITE_WAIT_S)
    assert not counted.must_wait(OTHER, "user1", 0.0)


def test_a52_an_account_waits_shortly_for_all_but_who_knows_its_password():
    counted = Guesses()
    counted.succeeded(OTHER, "scanner")
    fail(counted, SITE, "scanner", 40)
    assert counted.must_wait("203.0.113.9", "scanner", ACCOUNT_WAIT_S - 1)
    assert not counted.must_wait("203.0.113.9", "scanner", ACCOUNT_WAIT_S)
    assert not counted.must_wait(OTHER, "scanner", 0.0)


def test_a52_who_knows_one_password_waits_for_guesses_at_it_and_at_others():
    counted = Guesses()
    counted.succeeded(SITE, "scanner")
    fail(counted, SITE, "mail", 40)
    assert counted.must_wait(SITE, "mail", 0.0)
    assert not counted.must_wait(SITE, "scanner", 0.0)
    counted.succeeded(SITE, "scanner")
    assert counted.must_wait(SITE, "mail", 0.0)  # nothing was washed away
    fail(counted, SITE, "scanner", FREE_FAILURES)
    assert counted.must_wait(SITE, "scanner", 0.0)


def test_a52_addresses_of_one_ipv6_owner_are_one_site():
    counted = Guesses()
    for number in range(FREE_FAILURES):
        counted.failed(f"2001:db8::{number:x}", f"user{number}", 0.0)
    assert counted.must_wait("2001:db8::ffff", "x", 0.0)
    assert not counted.must_wait("2001:db8:0:1::1", "x", 0.0)


def test_a52_failures_are_forgotten_in_time():
    counted = Guesses()
    fail(counted, SITE, "a", 40)
    assert counted.must_wait(SITE, "a", 0.0)
    fail(counted, SITE, "a", 1, now=FORGET_S + 1)
    assert not counted.must_wait(SITE, "a", FORGET_S + 1)


def test_a52_what_is_remembered_is_bounded_however_long_names_are():
    counted = Guesses()
    tracemalloc.start()
    try:
        for number in range(REMEMBERED + 500):
            address = f"10.{number % 250}.{number // 250}.1"
            counted.failed(address, f"{number}" + "x" * 9000, 5.0)
            counted.succeeded(address, f"{number}" + "y" * 9000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for ledger in (counted._sites, counted._accounts, counted._pairs):
        assert len(ledger._counts) == REMEMBERED
    assert len(counted._proven) == REMEMBERED
    assert kept < 32 * 1024 * 1024


async def test_a52_guesses_over_many_sessions_are_told_to_wait(intake, connect):
    desk = await intake(configuration=settings(USER))
    codes = []
    for user in ("scanner", "nobody"):
        guess = f"AUTH PLAIN {plain(user=user, password='no')}"
        for _ in range(2):
            talker = await connect(desk, IMPLICIT, tls=True)
            await talker.greet()
            codes += [await talker.code(guess), await talker.code(guess)]
            await talker.close()
    assert codes[:FREE_FAILURES] == ["535 5.7.8"] * FREE_FAILURES
    assert codes[FREE_FAILURES:] == ["454 4.7.0"] * 3
    talker = await connect(desk, IMPLICIT, tls=True)
    await talker.greet()
    assert await talker.code(f"AUTH PLAIN {plain()}") == "454 4.7.0"
    assert any(event == "intake-auth-waiting" for event, _ in desk.log)
