from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import Fenced, ObjectNotFound
from pipelines.merging.errors import NotVerified
from pipelines.merging.generation import (
    Place,
    carry,
    place_of,
    remove_strays,
    write_receipts,
)
from pipelines.merging.parts import Fragment, Merged, MergedFile, Output, Piece, Problem
from pipelines.merging.receipts import (
    merged_file,
    read_receipt,
    read_receipts,
    receipt,
    receipt_key,
    sources_of,
)
from pipelines.storage import Storage
from tests.unit.pipelines.merging.lakes import (
    CODES,
    DAY,
    MONTH,
    NEXT_DAY,
    SmallLake,
    foreign,
    pieces_of,
    rows,
    segment,
)

PLACE = Place(CODES.name, MONTH, 1, "ab")
PROBLEM = Problem("fragments/x", "etag", "no sync marker")


def merge(small: SmallLake) -> tuple[Merged, list[Fragment], list[bytes]]:
    data = [small.own(rows(range(7))), foreign(rows(range(7, 9)), "deflate")]
    fragments = [
        small.put("a", data[0], records=7, sha=True),
        small.put("b", data[1], NEXT_DAY),
    ]
    return small.merge([*fragments, small.put("bad", b"x")]), fragments, data


def test_a_receipt_says_what_its_file_is_made_of(small: SmallLake) -> None:
    merged, [a, b], data = merge(small)
    [(file, sources)] = merged.files
    said = json.loads(receipt(file, sources, merged.problems, {"generation": 4}))
    assert (said["generation"], said["recordType"], said["month"], said["kind"]) == (
        4,
        CODES.name,
        MONTH,
        "daily",
    )
    found = small.lake.storage.look(file.key)
    assert found is not None
    assert said["output"] == {
        "key": file.key,
        "size": found.size,
        "etag": found.etag,
        "schemaVersion": 1,
        "codec": "null",
        "records": 9,
        "digest": file.digest,
    }
    assert [
        (s["key"], s["etag"], s["size"], s["records"], s["fingerprint"]) for s in said["sources"]
    ] == [(f.key, f.etag, f.size, n, CODES.fingerprint) for f, n in ((a, 7), (b, 2))]
    assert [s["path"] for s in said["sources"]] == ["whole", "repacked"]
    assert [len(s["digest"]) for s in said["sources"]] == [32, 32]
    assert said["sources"][0]["digest"] == file.segments[0].digest
    [problem] = said["problems"]
    assert problem["key"].endswith("/bad.avro")
    assert problem["version"]
    assert "expected to begin with" in problem["what"]
    parts = [dict(zip(said["segmentFields"], each, strict=True)) for each in said["segments"]]
    assert parts == [asdict(each) for each in file.segments]
    assert parts[0]["sha256"] == hashlib.sha256(data[0]).hexdigest()


def test_statistics_are_in_the_documents_shape(small: SmallLake) -> None:
    """Two of its values are ours: a day's prefix, and where the file is."""
    [(file, sources)] = merge(small)[0].files
    said = json.loads(receipt(file, sources, (), {}))
    assert said["statistics"] == {
        "filePrefix": "codeAssignment/2017/03/01",
        "mergedFileKey": f"{PLACE.location}/out.avro",
        "count": {"records": 9, "files": 2},
    }
    month = json.loads(receipt(replace(file, kind="monthly"), sources, (), {}))
    assert month["statistics"]["filePrefix"] == "codeAssignment/2017/03"


def test_receipts_are_read_back(small: SmallLake) -> None:
    merged, _, _ = merge(small)
    other = small.merge([small.put("c", foreign([]))], location=PLACE.location + "-b")
    files = [*merged.files, *other.files]
    keys = write_receipts(small.lake.storage, files, merged.problems, {"generation": 1})
    assert keys == sorted(receipt_key(file.key) for file, _ in files)
    assert read_receipts(small.lake.storage, keys[::-1]) == tuple(
        sorted((file for file, _ in files), key=lambda file: file.receipt, reverse=True)
    )
    document = read_receipt(small.lake.storage, merged.files[0][0].receipt)
    assert sources_of(document) == merged.files[0][1]
    assert merged_file(document) == merged.files[0][0]
    with pytest.raises(ObjectNotFound):
        read_receipt(small.lake.storage, "receipts/none.json")


def test_the_same_merge_has_the_same_receipt(small: SmallLake) -> None:
    [(file, sources)] = merge(small)[0].files
    first = receipt(file, sources, [PROBLEM], {"b": 1, "a": 2})
    assert receipt(file, sources, [PROBLEM], {"a": 2, "b": 1}) == first
    assert first.endswith(b"}\n")


class TestPlaces:
    source = Fragment("fragments/t/p/2017-03-01/a.avro", "p", DAY, 100, "e1", "s1", 5)
    output = Output("t_2017_03_01", "daily", (Piece(fragment=source),))
    carried = MergedFile("merged/t/x.avro", "daily", 1, "e", 1, "null", (), "r")

    def place(self, **changes: Any) -> Place:
        given: dict[str, Any] = {
            "number": 3,
            "settings": {"codec": "null"},
            "carried": (self.carried,),
            "outputs": (self.output,),
        }
        return place_of("t", MONTH, **{**given, **changes})

    def with_source(self, **changes: Any) -> Place:
        piece = Piece(fragment=replace(self.source, **changes))
        return self.place(outputs=(replace(self.output, pieces=(piece,)),))

    def test_folders(self) -> None:
        place = self.place()
        assert place.name == f"g000003-{place.digest}"
        assert len(place.digest) == 12
        assert place.location == f"merged/t/{MONTH}/{place.name}"
        assert place.receipts == f"receipts/t/{MONTH}/{place.name}"

    def test_the_same_merge_has_the_same_place(self) -> None:
        """Also elsewhere and later: ETags of local files tell when they were written."""
        assert self.place() == self.place()
        assert self.with_source(etag="e2") == self.place()

    def test_any_other_merge_has_another(self) -> None:
        day = (replace(self.output, kind="monthly"),)
        other = segment(self.source.key, DAY)
        merged = Piece(file=self.carried, segment=other)
        again = replace(merged, segment=replace(other, digest="1"))
        found = [
            self.place(),
            self.place(number=4),
            self.place(settings={"codec": "snappy"}),
            self.place(carried=()),
            self.place(carried=(replace(self.carried, key="merged/t/y.avro"),)),
            self.place(carried=(replace(self.carried, segments=(replace(other, digest="7"),)),)),
            self.place(outputs=()),
            self.place(outputs=day),
            self.place(outputs=(replace(self.output, stem="u"),)),
            self.with_source(sha256="s2"),
            self.with_source(sha256=None),
            self.with_source(key="other"),
            *(self.place(outputs=(replace(self.output, pieces=(p,)),)) for p in (merged, again)),
            self.place(
                outputs=(
                    replace(self.output, pieces=(Piece(fragment=self.source, start=1, end=9),)),
                )
            ),
        ]
        assert len({place.name for place in found}) == len(found)


def test_files_are_carried_with_their_sources(small: SmallLake) -> None:
    merged, _, _ = merge(small)
    write_receipts(small.lake.storage, merged.files, (), {})
    [(file, sources)] = merged.files
    to = Place(CODES.name, MONTH, 2, "cd")
    [(carried, told)] = carry(small.lake.storage, [file], to)
    assert told == sources
    assert carried.key == f"{to.location}/out.avro"
    assert carried.receipt == f"{to.receipts}/out.json"
    assert small.data(carried) == small.data(file)
    assert (carried.segments, carried.size) == (file.segments, file.size)
    assert small.rows(small.merge(pieces_of(carried), location="merged/x")) == rows(range(9))
    assert carry(small.lake.storage, [], to) == []


class Losing(Storage):
    def copy(self, source: str, target: str) -> None:
        self.write(target, [self.read(source)[:-1]])


def test_a_carried_file_is_whole_or_the_merge_fails(small: SmallLake) -> None:
    merged, _, _ = merge(small)
    write_receipts(small.lake.storage, merged.files, (), {})
    [(file, _)] = merged.files
    to = Place(CODES.name, MONTH, 2, "cd")
    with pytest.raises(NotVerified, match=f"copied {file.size:,} bytes, found {file.size - 1}"):
        carry(Losing(small.settings.root), [file], to)
    small.lake.storage.delete([file.key])
    with pytest.raises(ObjectNotFound):
        carry(small.lake.storage, [file], to)


class TestStrays:
    """What an attempt that died left in the place of the one that takes over."""

    def left(self, small: SmallLake) -> tuple[MergedFile, list[str]]:
        merged, _, _ = merge(small)
        write_receipts(small.lake.storage, merged.files, (), {})
        file = merged.files[0][0]
        strays = [f"{PLACE.location}/x.avro", f"{PLACE.receipts}/x.json"]
        for key in (*strays, f"merged/{CODES.name}/{MONTH}/g000001-cd/x.avro"):
            small.lake.storage.write(key, [b"x"])
        staged = Path(small.settings.root, PLACE.location, "y.avro#1")
        staged.write_bytes(b"half")
        return file, [*strays, str(staged)]

    def keys(self, small: SmallLake) -> set[str]:
        return {o.key for o in small.lake.storage.list("") if not o.key.startswith("fragments/")}

    def test_they_go_and_nothing_else_does(self, small: SmallLake) -> None:
        file, strays = self.left(small)
        before = self.keys(small)
        remove_strays(small.lake.storage, PLACE, [file], lambda: None)
        assert self.keys(small) == before - set(strays)
        assert {file.key, file.receipt} <= self.keys(small)
        assert not Path(strays[-1]).exists()

    def test_nothing_goes_when_another_run_has_the_month(self, small: SmallLake) -> None:
        file, strays = self.left(small)
        before = self.keys(small)

        def taken() -> None:
            raise Fenced("unit", "published", "another")

        with pytest.raises(Fenced):
            remove_strays(small.lake.storage, PLACE, [file], taken)
        assert self.keys(small) == before
        assert Path(strays[-1]).exists()

    def test_nobody_is_asked_when_there_are_none(self, small: SmallLake) -> None:
        merged, _, _ = merge(small)

        def asked() -> None:
            raise AssertionError

        remove_strays(small.lake.storage, PLACE, [f for f, _ in merged.files], asked)
        assert small.lake.storage.look(merged.files[0][0].key) is not None
