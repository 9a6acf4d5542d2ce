"""A job under every sequence of leases, crashes and outcomes, against a plain model.

The model knows per recipient what was last said and whether a copy may exist; the job
must agree after each step, and each step must have been written down (INV-4, F-07).
"""

import dataclasses
import datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.model.address import ReversePath
from gateway.model.ids import Code
from gateway.model.job import JobKind, JobState, RecipientStatus
from gateway.model.reply import Outcome, RecipientOutcome, Status
from gateway.model.verdict import Reason
from gateway.queue import settlement
from gateway.queue.states import TERMINAL, Move, move
from tests.unit.queue import queue_desk as desk

TODO = RecipientStatus.TODO
NAMES = ("a@ggz.example", "b@ggz.example", "c@ggz.example")
WHEN_CLOSED = {
    Status.DELIVERED: RecipientStatus.DELIVERED,
    Status.FAILED: RecipientStatus.FAILED,
}


class Queue(RuleBasedStateMachine):
    @initialize(
        count=st.integers(1, 3),
        kind=st.sampled_from(JobKind),
        null=st.booleans(),
    )
    def accept(self, count, kind, null):
        self.now = desk.NOW
        self.job = desk.job(
            *NAMES[:count],
            kind=kind,
            state=JobState.READY,
            reverse_path=ReversePath(None if null else desk.SENDER),
            lease_token=0,
        )
        self.model = dict.fromkeys(self.job.open_recipients, TODO)
        self.uncertain = set()
        self.unknowns = self.attempts = 0
        self.told = {"failed": [], "delayed": []}
        self.recorded = []

    def desk(self):
        return desk.desk(now=self.now)

    def write(self, settled):
        """What a store would keep: the job; and what was said and to whom."""
        self.job = settled.job
        self.recorded += settled.batch.records
        for record in settled.batch.records:
            if record.event == "notice-sent":
                content = next(
                    c for c in settled.batch.contents if c.message == record.notice
                )
                opened = desk.Opened(content.octets)
                self.told[record.kind] += opened.fields("Final-Recipient")

    @precondition(lambda self: self.job.state in {JobState.READY, JobState.WAITING})
    @rule()
    def lease(self):
        self.job = dataclasses.replace(
            self.job,
            state=move(self.job.state, Move.LEASE),
            lease_token=self.job.lease_token + 1,
        )

    @rule(minutes=st.sampled_from([1, 14, 60, 241, 60 * 24 * 5]))
    def time_passes(self, minutes):
        self.now += datetime.timedelta(minutes=minutes)

    @precondition(lambda self: self.job.state is JobState.LEASED)
    @rule(before_the_dot=st.booleans())
    def crash(self, before_the_dot):
        """The worker dies, before or after its intent; another one takes the job."""
        if not before_the_dot and self.job.intent_at is None:
            accepted = [str(mailbox) for mailbox in self.job.open_recipients]
            intent = settlement.intend(self.job, desk.hop(), accepted, self.desk())
            self.write(intent)
        self.job = dataclasses.replace(
            self.job,
            state=move(self.job.state, Move.LEASE),
            lease_token=self.job.lease_token + 1,
            crashes=self.job.crashes + 1,
        )

    def resume(self):
        """What `relay.attempt` does first with a job that has an intent."""
        if self.job.intent_at is not None:
            self.uncertain |= set(self.job.open_recipients)
            self.unknowns += 1
            self.attempts += 1
            self.write(settlement.resume(self.job, self.desk()))

    @precondition(lambda self: self.job.state is JobState.LEASED)
    @rule(data=st.data())
    def attempt(self, data):
        self.resume()
        opened = self.job.open_recipients
        said = {m: data.draw(st.sampled_from(Status), str(m)) for m in opened}
        results = tuple(RecipientOutcome(m, s) for m, s in said.items())
        over = self.now >= self.job.expires_at
        self.attempts += 1
        self.unknowns += Status.UNKNOWN in said.values()
        self.uncertain |= {m for m, s in said.items() if s is Status.UNKNOWN}
        for mailbox, status in said.items():
            waits = RecipientStatus.EXPIRED if over else TODO
            self.model[mailbox] = WHEN_CLOSED.get(status, waits)
        self.write(
            settlement.settle(self.job, Outcome((), results), desk.HEADER, self.desk())
        )

    @precondition(lambda self: self.job.state is JobState.LEASED)
    @rule()
    def stop(self):
        self.resume()
        reason = Reason(Code("K303"), (("partner", "GGZ"), ("state", "ended")))
        self.attempts += 1
        for mailbox in self.job.open_recipients:
            self.model[mailbox] = RecipientStatus.FAILED
        self.write(settlement.stop(self.job, reason, desk.HEADER, self.desk()))

    @precondition(
        lambda self: (
            self.job.state is JobState.LEASED and self.now >= self.job.expires_at
        )
    )
    @rule()
    def give_up(self):
        self.resume()
        self.attempts += 1
        for mailbox in self.job.open_recipients:
            self.model[mailbox] = RecipientStatus.EXPIRED
        self.write(settlement.give_up(self.job, self.desk()))

    @invariant()
    def each_recipient_stands_where_the_model_says(self):
        assert {r.mailbox: r.status for r in self.job.recipients} == self.model
        assert len(self.job.recipients) == len(self.model)

    @invariant()
    def a_job_is_done_when_and_only_when_nobody_is_open(self):
        closed = all(status in TERMINAL for status in self.model.values())
        assert (self.job.state is JobState.DONE) == closed

    @invariant()
    def unknown_outcomes_and_attempts_are_counted(self):
        assert (self.job.unknowns, self.job.attempts) == (self.unknowns, self.attempts)
        uncertain = {r.mailbox for r in self.job.recipients if r.uncertain}
        assert uncertain == self.uncertain
        events = [record.event for record in self.recorded]
        assert events.count("delivery-unknown") == self.unknowns

    @invariant()
    def a_settled_job_has_no_intent_left(self):
        assert self.job.intent_at is None or self.job.state is JobState.LEASED

    @invariant()
    def every_end_is_evidence_exactly_once(self):
        for mailbox, status in self.model.items():
            ends = [
                record.event
                for record in self.recorded
                if record.event in {"delivered", "failed", "expired"}
                and str(mailbox) in desk.addresses(record)
            ]
            assert ends == ([] if status is TODO else [status.value])

    @invariant()
    def who_lost_a_message_is_told_once_and_nobody_is_told_of_a_notice(self):
        lost = {
            f"rfc822; {mailbox}"
            for mailbox, status in self.model.items()
            if status in {RecipientStatus.FAILED, RecipientStatus.EXPIRED}
        }
        silent = self.job.kind is JobKind.NOTICE or self.job.reverse_path.is_null
        assert sorted(self.told["failed"]) == ([] if silent else sorted(lost))
        assert len(self.told["delayed"]) == len(set(self.told["delayed"]))
        if self.job.kind is JobKind.NOTICE:
            assert not {"notice-sent", "notice-dropped"} & {
                record.event for record in self.recorded
            }

    @invariant()
    def the_next_attempt_is_neither_past_nor_after_the_end(self):
        if self.job.state is JobState.WAITING:
            latest = max(self.job.expires_at, self.now)
            assert desk.NOW < self.job.next_attempt_at <= latest


TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, derandomize=True
)
