"""How each kind of record is written for ever: leaf and openings, octet for octet.

A change here is a change of the evidence format: never of version 1, only a version 2
beside it. To write the files anew on purpose: `python tests/golden/test_record_encoding.py`
from the root of the repository.
"""

import datetime
import hashlib
import hmac
import inspect
import itertools
import json
import pathlib

import pytest

from gateway.evidence import encode, verify
from gateway.model import record

PLACE = pathlib.Path(__file__).with_name("record_encoding")
CLEAR = {
    "at": datetime.datetime(2026, 2, 28, 23, 59, 59, 1, tzinfo=datetime.UTC),
    "municipality": "utrecht",
    "message": "m-5f1c",
    "policy": hashlib.sha256(b"policy").hexdigest(),
}
ADDRESSED = (("address", "a.b@gemeente.test"), ("verdict", "relay"), ("row", "12"))
HOP = (
    ("host", "mx1.partner.test"),
    ("address", "192.0.2.25"),
    ("port", 25),
    ("mechanism", "dane-ee"),
    ("matched", None),
)
RESULT = (
    ("address", "balie@partner.test"),
    ("reply", "250 2.0.0 Ok: queued as ÆØ\u2028"),
)
ATTEMPT = {
    "job": "j-01",
    "attempt": 2,
    "hops": (HOP, HOP[:3]),
    "recipients": (RESULT,),
    "possible_duplicate": False,
}
LATER = {"next_attempt_at": "2026-03-01T00:05:00Z"}
TAKEN = {
    "client": "exchange",
    "peer_address": "10.1.2.3",
    "helo": "mail.gemeente.test",
    "peer_tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
    "reverse_path": "jan@gemeente.test",
    "message_id": "<1@gemeente.test>",
    "size_octets": 34567,
    "content_digest": hashlib.sha256(b"digest").hexdigest(),
    "content_key": hashlib.sha256(b"key").hexdigest(),
    "level": "certain",
    "regimes": ((("regime", "wvggz"), ("level", "certain"), ("score", 120)),),
    "findings": (),
    "unreadable": ((("place", "attachment/2"), ("reason", "encrypted")),),
    "removed": ((("field", "bcc"), ("count", 1)),),
    "scanned": "infected",
    "malware": "Win.Test.EICAR_HDB-1",
    "foreign_author": False,
    "requiretls": True,
    "envid": "QQ314159+2B1",
    "recipients": (ADDRESSED, (*ADDRESSED[:1], ("code", None))),
}
RECORDS = (
    record.Accepted(id="r-accepted", **CLEAR, **TAKEN),
    record.Refused(
        id="r-refused",
        **CLEAR | {"message": None},
        **TAKEN | {"message_id": None, "reverse_path": "", "peer_tls": None},
    ),
    record.RecipientsHeld(
        id="r-held",
        **CLEAR,
        job="j-01",
        code="K302",
        recipients=(ADDRESSED,),
        expires_at="2026-03-04T00:00:00Z",
    ),
    record.HoldExpired(
        id="r-hold-expired", **CLEAR, job="j-01", recipients=(ADDRESSED,)
    ),
    record.Intent(
        id="r-intent", **CLEAR, job="j-01", attempt=1, hop=HOP, recipients=(RESULT[:1],)
    ),
    record.Delivered(id="r-delivered", **CLEAR, **ATTEMPT),
    record.Deferred(id="r-deferred", **CLEAR, **ATTEMPT, **LATER),
    record.DeliveryUnknown(
        id="r-unknown", **CLEAR, **ATTEMPT | {"possible_duplicate": True}, **LATER
    ),
    record.Failed(id="r-failed", **CLEAR, **ATTEMPT),
    record.Expired(id="r-expired", **CLEAR, **ATTEMPT | {"hops": ()}),
    record.NoticeSent(
        id="r-notice-sent",
        **CLEAR,
        job="j-01",
        kind="split",
        notice="m-77aa",
        addressee="jan@gemeente.test",
    ),
    record.NoticeDropped(
        id="r-notice-dropped", **CLEAR, job="j-01", kind="delayed", why="null"
    ),
    record.PartnerApplied(
        id="r-partner",
        **CLEAR | {"message": None},
        partner="pi-vught",
        change="added",
        before=None,
        after=hashlib.sha256(b"after").hexdigest(),
        actor="admin",
    ),
    record.ConfigLoaded(
        id="r-config",
        **CLEAR | {"message": None, "municipality": "_gateway"},
        config=hashlib.sha256(b"config").hexdigest(),
        allow_ranges="",
    ),
    record.ExportMade(
        id="r-export",
        **CLEAR | {"message": None},
        actor="auditor",
        first=0,
        past=12,
        bundle_digest=hashlib.sha256(b"path").hexdigest(),
    ),
)


def encoded(event):
    numbers = itertools.count()
    return encode.encode(
        event,
        origin=f"gw.example.test/{event.municipality}",
        software="ketenmail/0.1.0",
        secret=lambda: hashlib.sha256(f"{event.id}/{next(numbers)}".encode()).digest(),
    )


def events(classes):
    return sorted(each.event for each in classes)


def test_there_is_a_golden_record_of_each_class():
    every = [each for _, each in inspect.getmembers(record, inspect.isclass)]
    concrete = [e for e in every if issubclass(e, record.Record) and "event" in vars(e)]
    assert events(concrete) == events(RECORDS)
    assert len(list(PLACE.iterdir())) == len(RECORDS) * 2


@pytest.mark.parametrize("event", RECORDS, ids=lambda each: each.event)
def test_a_record_is_written_as_it_always_was(event):
    given = encoded(event)
    assert (PLACE / f"{event.event}.leaf.json").read_bytes() == given.leaf + b"\n"
    assert (
        PLACE / f"{event.event}.openings.json"
    ).read_bytes() == given.openings + b"\n"


@pytest.mark.parametrize("event", RECORDS, ids=lambda each: each.event)
def test_the_golden_openings_open_the_golden_leaf(event):
    """By the rules of docs/evidence-format.md, with nothing of the encoder."""
    leaf = json.loads((PLACE / f"{event.event}.leaf.json").read_bytes())
    openings = json.loads((PLACE / f"{event.event}.openings.json").read_bytes())
    known = dict(leaf["fields"])
    for path in sorted(openings):
        key, value = bytes.fromhex(openings[path]["key"]), openings[path]["value"]
        text = json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), sort_keys=True
        )
        octets = path.encode() + b"\0" + text.encode()
        assert known.pop(path) == hmac.new(key, octets, "sha256").hexdigest()
        known |= verify.inner(path, value)
    assert known == {}
    assert len({opening["key"] for opening in openings.values()}) == len(openings)


@pytest.mark.parametrize("event", RECORDS, ids=lambda each: each.event)
def test_the_leaf_shows_no_value_that_could_name_somebody(event):
    leaf = (PLACE / f"{event.event}.leaf.json").read_text()
    values = json.loads((PLACE / f"{event.event}.openings.json").read_bytes()).values()
    texts = {each["value"] for each in values if isinstance(each["value"], str)}
    for text in {text for text in texts if len(text) > 4} - {event.event}:
        assert text not in leaf


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    for each in RECORDS:
        (PLACE / f"{each.event}.leaf.json").write_bytes(encoded(each).leaf + b"\n")
        openings = encoded(each).openings + b"\n"
        (PLACE / f"{each.event}.openings.json").write_bytes(openings)
