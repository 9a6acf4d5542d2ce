"""R8: list mail is classified once, and never by another's classification."""

import dataclasses
import threading

import pytest

from gateway.model.document import Document, Segment, UnreadablePart
from gateway.policy.classify import classify
from gateway.policy.memory import Memory
from tests.unit.policy import policy_desk as desk

SECRET = b"s" * 32
CASE = "Hierbij de crisismaatregel (Wvggz) voor betrokkene, geboren 03-04-1981."


class Counting:
    """The classifier, and how often it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, document, policy):
        self.asked.append(document)
        return classify(document, policy)


@pytest.fixture
def classifier():
    return Counting()


def test_a_newsletter_is_classified_once(classifier):
    memory = Memory(classifier, SECRET)
    for _ in range(1000):  # a new document each time, as each copy is read anew
        found = memory.classify(desk.document(CASE), desk.policy())
        assert found == classify(desk.document(CASE), desk.policy())
    assert len(classifier.asked) == 1


PLAIN = Document((Segment("subject", "ab"), Segment("body/1", "cd")))


@pytest.mark.parametrize(
    "other",
    [
        Document((Segment("subject", "abc"), Segment("body/1", "d"))),
        Document((Segment("subject", "abbody/1cd"),)),
        Document((Segment("body/1", "ab"), Segment("body/1", "cd"))),
        Document((Segment("body/1", "cd"), Segment("subject", "ab"))),
        Document((Segment("subject", "ab"), Segment("body/1", "cD"))),
        dataclasses.replace(PLAIN, unreadable=(UnreadablePart("part/2", "encrypted"),)),
        dataclasses.replace(PLAIN, segments=PLAIN.segments[:1]),
        Document((*PLAIN.segments, Segment("part/2", "encrypted"))),
        Document((Segment("subject", "ab"), Segment("body/1", "cd\udc80"))),
    ],
)
def test_any_difference_that_the_classifier_could_see_is_another_mail(
    other, classifier
):
    memory = Memory(classifier, SECRET)
    memory.classify(PLAIN, desk.policy())
    memory.classify(other, desk.policy())
    assert classifier.asked == [PLAIN, other]


def test_who_wrote_it_is_no_matter_of_classification(classifier):
    memory = Memory(classifier, SECRET)
    memory.classify(PLAIN, desk.policy())
    memory.classify(
        dataclasses.replace(PLAIN, authors_faulty=True, message_id="<2@x.example>"),
        desk.policy(),
    )
    assert len(classifier.asked) == 1


def test_another_policy_classifies_anew(classifier):
    memory = Memory(classifier, SECRET)
    memory.classify(PLAIN, desk.policy())
    memory.classify(PLAIN, desk.policy('unreadable = "refuse"'))
    assert len(classifier.asked) == 2


def test_what_was_asked_for_last_is_kept_longest_and_no_more_than_may_be(classifier):
    memory = Memory(classifier, SECRET, most=3)
    letters = [desk.document(each) for each in "abcd"]
    for each in (*letters[:3], letters[0], letters[3], letters[0], letters[1]):
        memory.classify(each, desk.policy())
    assert classifier.asked == [*letters, letters[1]]  # `b` had to make room for `d`
    assert len(memory._known) == 3


def test_threads_may_ask_at_once(classifier):
    memory = Memory(classifier, SECRET, most=5)
    wrong = []

    def ask(start):
        for number in range(200):
            text = CASE if (number + start) % 7 == 0 else f"brief {number % 9}"
            document = desk.document(text)
            if memory.classify(document, desk.policy()) != classify(
                document, desk.policy()
            ):
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(memory._known) <= 5
