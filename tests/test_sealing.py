"""What was sealed opens with the private key as it was, or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import HomeError, UsageError
from fedrisk.sealing import (
    HEAD,
    Sealer,
    make_keys,
    open_batches,
    read_private,
    read_public,
)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """File of a private key; its public one lies beside it."""
    file = tmp_path / "record.key"
    make_keys(file)
    return file


def public(private: Path) -> Path:
    return private.with_name(f"{private.name}.pub")


def sealed(private: Path, *batches: bytes, last: bool = True) -> list[bytes]:
    sealer = Sealer(read_public(public(private)))
    made = []
    for rows in batches:
        made.append(sealer.seal(rows))
        sealer.sealed()
    return [*made, sealer.seal(b"", last=True)] if last else made


def opened(private: Path, content: bytes) -> list[bytes]:
    return list(open_batches(io.BytesIO(content), "file", read_private(private)))


def test_batches_come_back_in_order_and_the_last_is_empty(private: Path) -> None:
    content = b"".join(sealed(private, b"one\n", b"two\n"))
    assert opened(private, content) == [b"one\n", b"two\n", b""]
    assert b"one" not in content


@given(st.data())
def test_no_bit_can_be_changed(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    private = tmp_path_factory.mktemp("keys") / "key"
    make_keys(private)
    content = bytearray(b"".join(sealed(private, b'{"age": 71}\n', b'{"age": 40}\n')))
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    content[place // 8] ^= 1 << place % 8
    with pytest.raises(HomeError, match="file"):
        opened(private, bytes(content))


@given(st.data())
def test_a_cut_within_a_batch_is_found_and_one_between_leaves_no_end(
    tmp_path_factory: pytest.TempPathFactory, data
) -> None:
    private = tmp_path_factory.mktemp("keys") / "key"
    make_keys(private)
    batches = sealed(private, b"one\n", b"two\n")
    content = b"".join(batches)
    ends = [0, len(batches[0]), len(batches[0] + batches[1])]
    cut = data.draw(st.integers(0, len(content) - 1))
    if cut in ends:
        assert b"" not in opened(private, content[:cut])
    else:
        with pytest.raises(HomeError, match="cut short"):
            opened(private, content[:cut])


def test_no_batch_can_be_taken_out_moved_repeated_or_brought_from_another_file(
    private: Path,
) -> None:
    one, two, end = sealed(private, b"one\n", b"two\n")
    other, _ = sealed(private, b"one\n")
    for wrong in ([two, end], [two, one, end], [one, one, two, end], [one, end, two], [one, end]):
        with pytest.raises(HomeError, match="not the one that was written there"):
            opened(private, b"".join(wrong))
    with pytest.raises(HomeError, match="not the one that was written there"):
        opened(private, other + two + end)


def test_another_key_opens_nothing(private: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_keys(other)
    with pytest.raises(HomeError, match="sealed for another key"):
        opened(other, b"".join(sealed(private, b"one\n")))


def test_every_batch_has_a_key_of_its_own(private: Path) -> None:
    heads = [HEAD.unpack(batch[: HEAD.size]) for batch in sealed(private, b"a", b"a")]
    assert len({head[3] for head in heads}) == 3


def test_a_server_is_not_given_the_private_key(private: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a private key"):
        read_public(private)
    with pytest.raises(UsageError, match="no private X25519 key"):
        read_private(public(private))
    (tmp_path / "text").write_text("text")
    for read in (read_public, read_private):
        with pytest.raises(UsageError, match="holds no"):
            read(tmp_path / "text")
        with pytest.raises(UsageError, match="cannot be read"):
            read(tmp_path / "missing")


def test_a_private_key_is_for_its_owner_and_never_written_over(private: Path) -> None:
    assert private.stat().st_mode & 0o077 == 0
    before = private.read_bytes()
    with pytest.raises(UsageError, match="no keys are made"):
        make_keys(private)
    assert private.read_bytes() == before
