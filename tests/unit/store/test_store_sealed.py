import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.errors import TemporaryFailure
from gateway.store import sealed

KIB64 = sealed.CHUNK_OCTETS
NAME = sealed.label("message", "m", "1")


def make_key():
    return sealed.Key(os.urandom(32), "e", b"w")


def open_all(key, chunks, name=NAME):
    return b"".join(sealed.open_chunks(key.plain, name, chunks))


@given(st.integers(0, 3 * KIB64 + 2))
def test_what_was_sealed_opens_again(size):
    key, octets = make_key(), bytes(size)
    chunks = list(sealed.seal_chunks(key, NAME, [octets]))

    assert octets == open_all(key, sealed.split_chunks(b"".join(chunks)))


def test_a_chunk_is_64_kib_and_a_tag():
    chunks = list(sealed.seal_chunks(make_key(), NAME, [bytes(2 * KIB64)]))

    assert [len(chunk) for chunk in chunks] == [KIB64 + 16, KIB64 + 16]


TAMPERED = {
    "cut": lambda chunks: chunks[:-1],
    "first missing": lambda chunks: chunks[1:],
    "swapped": lambda chunks: [chunks[1], chunks[0], *chunks[2:]],
    "doubled": lambda chunks: [*chunks, chunks[-1]],
    "empty": lambda chunks: chunks[:0],
    "bit": lambda chunks: [bytes([chunks[0][0] ^ 1]) + chunks[0][1:], *chunks[1:]],
}


@pytest.mark.parametrize("how", TAMPERED)
def test_changed_content_does_not_open(how):
    key = make_key()
    chunks = list(sealed.seal_chunks(key, NAME, [os.urandom(2 * KIB64 + 5)]))

    with pytest.raises(TemporaryFailure):
        open_all(key, TAMPERED[how](chunks))


def test_content_of_another_message_does_not_open():
    key = make_key()
    chunks = list(sealed.seal_chunks(key, NAME, [b"inhoud"]))

    with pytest.raises(TemporaryFailure):
        open_all(key, chunks, sealed.label("message", "m", "2"))


def test_a_row_opens_under_its_own_label_only():
    key = make_key()
    octets = sealed.seal(key, sealed.label("job", "m", "1"), b"geheim")

    assert sealed.unseal(key.plain, sealed.label("job", "m", "1"), octets) == b"geheim"
    for kind, owner, of in (("x", "m", "1"), ("job", "n", "1"), ("job", "m", "2")):
        with pytest.raises(TemporaryFailure):
            sealed.unseal(key.plain, sealed.label(kind, owner, of), octets)


def test_a_key_does_not_show_itself():
    key = sealed.Key(b"GEHEIM" * 5, "e", b"w")

    assert "GEHEIM" not in repr(key)


@given(st.binary(max_size=300), st.integers(1, 7), st.integers(0, 2 * KIB64))
def test_how_content_is_cut_into_pieces_shows_nowhere(edge, step, middle):
    octets = edge + bytes(middle) + edge
    key = make_key()
    pieces = [edge[at : at + step] for at in range(0, len(edge), step)]
    pieces += [bytes(middle), edge]

    assert list(sealed.seal_chunks(key, NAME, pieces)) == list(
        sealed.seal_chunks(key, NAME, [octets])
    )
