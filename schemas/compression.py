"""Payloads of blocks with and without compression, outside the interpreter's lock."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable

import pyarrow as pa

from schemas.container import Buffer

#: Snappy never unpacks to more than this many times its size; a claim of more is damage.
_SNAPPY_RATIO = 24


class Undecodable(Exception):
    """A payload that its codec cannot have written."""


def _null(payload: Buffer) -> Buffer:
    return payload


def _snappy(payload: Buffer) -> Buffer:
    packed, checksum = payload[:-4], bytes(payload[-4:])
    size = shift = 0
    for byte in packed[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > len(packed) * _SNAPPY_RATIO:
        raise Undecodable(f"snappy: {len(packed)} bytes claim to hold {size}")
    unpacked = pa.decompress(packed, decompressed_size=size, codec="snappy", asbytes=True)
    if zlib.crc32(unpacked).to_bytes(4, "big") != checksum:
        raise Undecodable("snappy: the checksum differs")
    return bytes(unpacked)


def _deflate(payload: Buffer) -> Buffer:
    stream = zlib.decompressobj(wbits=-15)
    unpacked = stream.decompress(payload)
    # Some writers leave bytes of a zlib checksum behind the stream.
    if not stream.eof:
        raise Undecodable("deflate: the stream does not end within the block")
    return unpacked


def _zstandard(payload: Buffer) -> Buffer:
    with pa.CompressedInputStream(pa.BufferReader(payload), "zstd") as stream:
        return bytes(stream.read())


_UNPACK: dict[str, Callable[[Buffer], Buffer]] = {
    "null": _null,
    "snappy": _snappy,
    "deflate": _deflate,
    "zstandard": _zstandard,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
}


_DEFLATE_LEVEL = 6
_ZSTANDARD = pa.Codec("zstd", compression_level=3)


def _packed_snappy(payload: Buffer) -> Buffer:
    packed: bytes = pa.compress(payload, codec="snappy", asbytes=True)
    return packed + zlib.crc32(payload).to_bytes(4, "big")


def _packed_deflate(payload: Buffer) -> Buffer:
    stream = zlib.compressobj(_DEFLATE_LEVEL, wbits=-15)
    return stream.compress(payload) + stream.flush()


def _packed_zstandard(payload: Buffer) -> Buffer:
    packed: bytes = _ZSTANDARD.compress(payload, asbytes=True)
    return packed


_PACK: dict[str, Callable[[Buffer], Buffer]] = {
    "null": _null,
    "snappy": _packed_snappy,
    "deflate": _packed_deflate,
    "zstandard": _packed_zstandard,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}

#: Compression codecs, by the names that the Avro specification gives them.
CODECS = tuple(_PACK)


def pack(payload: Buffer, codec: str) -> Buffer:
    """Return a block's payload as ``codec`` compresses it: the same bytes for the same payload."""
    return _PACK[codec](payload)


def unpack(payload: Buffer, codec: str) -> Buffer:
    """Return a block's payload as it was before compression by ``codec``; raises Undecodable.

    No bytes are no bytes, whatever the codec: some writers compress nothing to nothing.
    """
    if not len(payload):
        return b""
    try:
        return _UNPACK[codec](payload)
    except (pa.ArrowException, OSError, zlib.error, lzma.LZMAError, ValueError, EOFError) as error:
        raise Undecodable(f"{codec}: {error}") from error
