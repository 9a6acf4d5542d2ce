import inspect

from gateway.evidence.vocabulary import EVENTS, Erds
from gateway.model import record


def events():
    classes = inspect.getmembers(record, inspect.isclass)
    return {
        c.event
        for _, c in classes
        if issubclass(c, record.Record) and "event" in vars(c)
    }


def test_every_event_has_a_line_and_every_line_an_event():
    assert events() == set(EVENTS)


def test_only_acceptance_and_relay_are_mapped_to_a_positive_name():
    positive = {event: erds for event, erds in EVENTS.items() if erds and erds.positive}
    assert positive == {
        "accepted": Erds.SUBMISSION_ACCEPTANCE,
        "delivered": Erds.RELAY_TO_NON_ERDS,
    }


def test_an_smtp_250_is_no_handover_or_consignment():
    assert EVENTS["delivered"].code == "F.1"
    assert not {erds.code[0] for erds in EVENTS.values() if erds} & set("BCDE")


def test_what_is_not_known_has_no_name():
    assert EVENTS["delivery-unknown"] is None
    assert EVENTS["deferred"] is None


def test_a_failure_or_refusal_is_never_positive_by_its_name():
    for erds in Erds:
        bad = ("Rejection", "Failure", "Expiry")
        assert erds.positive != erds.title.endswith(bad), erds
    assert len({erds.code for erds in Erds}) == len(Erds) == 19
