from __future__ import annotations

import bz2
import lzma
import zlib

import cramjam
import pytest

from schemas.compression import Undecodable, pack, unpack

TEXT = b"the quick brown fox " * 500


def snappy(data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(data) if checksum is None else checksum
    return bytes(cramjam.snappy.compress_raw(data)) + checksum.to_bytes(4, "big")


PACKED = {
    "null": TEXT,
    "snappy": snappy(TEXT),
    "deflate": zlib.compress(TEXT)[2:-4],
    "zstandard": bytes(cramjam.zstd.compress(TEXT)),
    "bzip2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
}


@pytest.mark.parametrize("codec", PACKED)
def test_payloads_of_other_compressors_are_unpacked(codec: str) -> None:
    assert bytes(unpack(memoryview(PACKED[codec]), codec)) == TEXT


@pytest.mark.parametrize("codec", [c for c in PACKED if c != "null"])
def test_every_truncation_is_undecodable(codec: str) -> None:
    packed = PACKED[codec]
    for length in range(1, len(packed)):
        with pytest.raises(Undecodable, match=codec):
            unpack(packed[:length], codec)


def test_a_checksum_that_differs_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="checksum"):
        unpack(snappy(TEXT, checksum=1), "snappy")


def test_a_claim_that_cannot_be_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(Undecodable, match="claim to hold 4294967295"):
        unpack(b"\xff\xff\xff\xff\x0f" + b"x" * 20, "snappy")


def test_the_rest_of_a_zlib_checksum_behind_deflate_is_passed_over() -> None:
    assert unpack(zlib.compress(TEXT)[2:-1], "deflate") == TEXT


@pytest.mark.parametrize("codec", PACKED)
def test_no_bytes_are_no_bytes(codec: str) -> None:
    assert unpack(b"", codec) == b""


@pytest.mark.parametrize("codec", PACKED)
def test_what_is_packed_is_unpacked_and_always_the_same(codec: str) -> None:
    packed = pack(memoryview(TEXT), codec)
    assert bytes(unpack(packed, codec)) == TEXT
    assert packed == pack(TEXT, codec)
    assert (len(packed) < len(TEXT)) == (codec != "null")


def test_others_unpack_what_is_packed() -> None:
    packed = bytes(pack(TEXT, "snappy"))
    assert bytes(cramjam.snappy.decompress_raw(packed[:-4])) == TEXT
    assert packed[-4:] == zlib.crc32(TEXT).to_bytes(4, "big")
    assert zlib.decompress(pack(TEXT, "deflate"), wbits=-15) == TEXT
    assert bytes(cramjam.zstd.decompress(bytes(pack(TEXT, "zstandard")))) == TEXT
