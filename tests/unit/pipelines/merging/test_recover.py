from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from pipelines.errors import ObjectNotFound
from pipelines.ledger.ledger import Ledger
from pipelines.merging.cut import cut
from pipelines.merging.errors import NotRecovered
from pipelines.merging.generation import write_receipts
from pipelines.merging.parts import Fragment, MergedFile, Piece
from pipelines.merging.recover import check_whole, put_back, read_fragment, segments_of
from pipelines.merging.survey import unit_name
from tests.unit.pipelines.merging.lakes import (
    CODES,
    MONTH,
    SmallLake,
    append,
    foreign,
    rows,
)

ALL = ("planned", "leased", "published", "succeeded")


def merged(small: SmallLake, *sources: Fragment | Piece, **changes: object) -> MergedFile:
    """Merge and publish; the sources are neither where they were nor in the archive then."""
    made = small.merge(sources, **changes)
    write_receipts(small.lake.storage, made.files, (), {})
    receipts = [file.receipt for file, _ in made.files]
    ledger = Ledger(small.lake.storage)
    append(ledger, unit_name(CODES.name, MONTH), *ALL, receipts=receipts)
    for each in sources:
        small.lake.storage.delete([each.key])
    return made.files[0][0]


def own(small: SmallLake) -> tuple[bytes, Fragment]:
    data = small.own(rows(range(20)))
    return data, small.put("own", data, records=20, sha=True)


def test_a_fragment_is_found_where_it_was(small: SmallLake) -> None:
    data, fragment = own(small)
    assert read_fragment(small.lake, CODES.name, fragment.key) == data


def test_a_fragment_is_found_in_the_archive(small: SmallLake) -> None:
    data, fragment = own(small)
    merged(small, fragment)
    small.lake.storage.write(fragment.key.replace("fragments", "archive", 1), [data])
    assert read_fragment(small.lake, CODES.name, fragment.key) == data


def test_a_fragment_is_cut_out_of_its_merged_file(small: SmallLake) -> None:
    data, fragment = own(small)
    merged(small, small.put("before", foreign(rows([1]))), fragment, small.put("z", foreign([])))
    assert read_fragment(small.lake, CODES.name, fragment.key) == data


def test_the_parts_of_a_large_one_come_together(small: SmallLake) -> None:
    data, fragment = own(small)
    pieces = cut(small.lake.storage, fragment, 800)
    assert len(pieces) > 2
    file = merged(small, *pieces[::-1])
    assert read_fragment(small.lake, CODES.name, fragment.key) == data
    assert [s.start for _, s in segments_of([file], fragment.key)] == [p.start for p in pieces]


def test_the_merged_file_says_how_it_is_written(small: SmallLake) -> None:
    """The lake's codec may have become another since."""
    data, fragment = own(small)
    merged(small, fragment)
    later = SmallLake(replace(small.settings, codec="zstandard"))
    assert read_fragment(later.lake, CODES.name, fragment.key) == data


def test_a_fragment_that_was_made_anew_is_not_recovered(small: SmallLake) -> None:
    _, fragment = own(small)
    merged(small, fragment, codec="deflate")
    with pytest.raises(NotRecovered, match=r"own\.avro: expected .* found .*'repacked'"):
        read_fragment(small.lake, CODES.name, fragment.key)


def test_a_fragment_that_is_in_no_place_is_not_found(small: SmallLake) -> None:
    _, fragment = own(small)
    small.lake.storage.delete([fragment.key])
    with pytest.raises(ObjectNotFound):
        read_fragment(small.lake, CODES.name, fragment.key)
    merged(small, small.put("other", foreign(rows([1]))))
    with pytest.raises(ObjectNotFound):
        read_fragment(small.lake, CODES.name, fragment.key)


def header(small: SmallLake) -> bytes:
    return small.lake.encoder(CODES).header


def test_a_fragment_is_put_back_from_its_merged_file(small: SmallLake) -> None:
    data, fragment = own(small)
    file = merged(small, small.put("before", foreign(rows([1]))), fragment)
    for _ in range(2):
        put_back(small.lake.storage, fragment.key, segments_of([file], fragment.key), header(small))
        assert small.lake.storage.read(fragment.key) == data


def test_a_fragment_is_put_back_from_the_archive(small: SmallLake) -> None:
    """Whatever the merge made of its blocks."""
    data, fragment = own(small)
    file = merged(small, fragment, codec="deflate")
    archived = fragment.key.replace("fragments", "archive", 1)
    small.lake.storage.write(archived, [data])
    put_back(small.lake.storage, fragment.key, segments_of([file], fragment.key), header(small))
    assert small.lake.storage.read(fragment.key) == small.lake.storage.read(archived) == data


def test_nothing_is_put_back_that_is_not_the_fragment(small: SmallLake) -> None:
    _, fragment = own(small)
    file = merged(small, fragment, codec="deflate")
    with pytest.raises(NotRecovered):
        put_back(small.lake.storage, fragment.key, segments_of([file], fragment.key), header(small))
    assert small.lake.storage.look(fragment.key) is None


def test_size_and_sha256_must_both_agree(small: SmallLake) -> None:
    data, fragment = own(small)
    held = segments_of([merged(small, fragment)], fragment.key)
    sha = hashlib.sha256(data).hexdigest()
    check_whole(fragment.key, held, len(data), sha)
    for size, text in ((len(data) - 1, sha), (len(data), "0" * 64)):
        with pytest.raises(NotRecovered, match=r"expected .* bytes of SHA-256"):
            check_whole(fragment.key, held, size, text)
