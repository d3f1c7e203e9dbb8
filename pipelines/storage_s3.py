"""Writing to S3: multipart uploads whose parts S3 copies where it can (UploadPartCopy)."""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, Self

from pipelines.errors import ObjectChanged, ObjectNotFound, StorageFailed
from pipelines.storage_writer import PART, Range, Writing, Written
from schemas.container import Buffer

if TYPE_CHECKING:
    from pipelines.storage import Storage

#: The least that S3 takes as a part which is not the last. ``PART`` is twice as much: a part that
#: was filled up to the least has room for what is left of a range that is too short.
LEAST = PART // 2
#: The most that S3 is asked to copy at once: it takes 5 GiB, but several smaller ones are faster.
_MOST_COPIED = 512 << 20
_THREADS = 4
#: Parts that are uploaded or wait for it: with the one being filled, 60 MiB.
_UNDER_WAY = 5
#: A copy is answered when it is done.
_ANSWER_SECONDS = 300

_MD5 = re.compile(r"[0-9a-f]{32}(-\d+)?")
_YES = frozenset({"1", "true", "yes", "y", "on"})


class S3Writer(Writing):
    """Writes to S3; nothing that S3 can copy itself goes through this process.

    S3 wants every part but the last to have 5 MiB. So the front of a range fills up what is
    buffered if that is less, and a range (or what is left of one) that is shorter waits until it
    is seen to be the last (then S3 copies it) or not (then it is read).
    """

    def __init__(self, storage: Storage, key: str, bucket: Bucket) -> None:
        super().__init__(storage, key)
        self._bucket = bucket
        self._buffer = bytearray()
        self._waiting: Range | None = None
        self._upload: _Upload | None = None

    def _write(self, data: Buffer) -> None:
        self._settle()
        self._fill(memoryview(data).cast("B"))

    def _copy(self, wanted: Range) -> None:
        self._settle()
        missing = LEAST - len(self._buffer) if self._buffer else 0
        front, rest = wanted.split(max(missing, 0))
        self._read(front)
        if len(rest) >= LEAST:
            self._send()
            for piece in rest.evenly(_MOST_COPIED):
                self._started().copy(piece)
        elif rest:
            self._waiting = rest

    def _settle(self) -> None:
        """Read the range that waited to be the last: it is not."""
        if self._waiting is not None:
            waited, self._waiting = self._waiting, None
            self._read(waited)

    def _read(self, wanted: Range) -> None:
        for data in self._pull(wanted):
            self._moved += len(data)
            self._fill(data)

    def _fill(self, view: memoryview) -> None:
        while view:
            taken = view[: PART - len(self._buffer)]
            self._buffer += taken
            view = view[len(taken) :]
            if len(self._buffer) == PART:
                self._send()

    def _send(self) -> None:
        """Send what is buffered, if anything is."""
        if self._buffer:
            data, self._buffer = self._buffer, bytearray()
            self._started().send(data)

    def _started(self) -> _Upload:
        if self._upload is None:
            self._upload = _Upload(self._bucket, self.key)
        return self._upload

    def _finish(self) -> Written:
        if self._waiting is None and self._upload is None:
            etag = self._bucket.put(self.key, self._buffer)
            return self._result(verified=etag is not None, etag=etag)
        self._send()
        if self._waiting is not None:
            self._started().copy(self._waiting)
        etag = self._started().complete()
        return self._result(verified=self._started().confirmed, etag=etag)

    def _drop(self) -> None:
        self._buffer = bytearray()
        if self._upload is not None:
            self._upload.abort()


@dataclass(frozen=True, slots=True)
class _Part:
    """A part as S3 holds it; ``md5`` is None where its ETag is none."""

    number: int
    etag: str
    md5: str | None


class _Upload:
    """A multipart upload: parts in order, several under way at a time."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._parts: list[Future[_Part]] = []
        self._failed: list[Future[_Part]] = []
        self._room = BoundedSemaphore(_UNDER_WAY)
        self._id = bucket.call("create_multipart_upload", key)["UploadId"]
        self._pool = ThreadPoolExecutor(_THREADS, "muster upload")
        #: Whether S3 confirmed by an MD5 every part that was sent.
        self.confirmed = True

    def send(self, data: bytearray) -> None:
        """Add a part; waits while too many are under way.

        Raises:
            PipelineError: an earlier part failed.
        """
        self._submit(lambda number: self._send(number, data))

    def copy(self, piece: Range) -> None:
        """Add a part that S3 copies; waits and raises as ``send``."""
        self._submit(lambda number: self._copy(number, piece))

    def _submit(self, task: Callable[[int], _Part]) -> None:
        self._room.acquire()
        if self._failed:
            self._failed[0].result()
        future = self._pool.submit(task, len(self._parts) + 1)
        self._parts.append(future)
        future.add_done_callback(self._ended)

    def _ended(self, future: Future[_Part]) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._failed.append(future)
        self._room.release()

    def _send(self, number: int, data: bytearray) -> _Part:
        answer = self._bucket.send(
            "upload_part", self._key, data, UploadId=self._id, PartNumber=number
        )
        self.confirmed = self.confirmed and answer.md5 is not None
        return _Part(number, answer.etag, answer.md5)

    def _copy(self, number: int, piece: Range) -> _Part:
        answer = self._bucket.call(
            "upload_part_copy",
            self._key,
            piece,
            UploadId=self._id,
            PartNumber=number,
            CopySource={"Bucket": self._bucket.name, "Key": self._bucket.key(piece.key)},
            CopySourceRange=f"bytes={piece.start}-{piece.end - 1}",
            **({} if piece.etag is None else {"CopySourceIfMatch": piece.etag}),
        )
        etag = str(answer["CopyPartResult"]["ETag"])
        return _Part(number, etag, self._bucket.md5(answer, etag))

    def complete(self) -> str | None:
        """Make the object of the parts; returns the ETag that follows from theirs, if one does.

        Raises:
            PipelineError: a part failed, or S3 refused.
        """
        parts = [future.result() for future in self._parts]
        named = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        etag = _whole([part.md5 for part in parts])
        try:
            self._bucket.call(
                "complete_multipart_upload",
                self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": named},
            )
        except _UploadGone:
            # So it is when the answer to a first try was lost; the object's ETag will tell.
            if etag is None:
                raise
        self._pool.shutdown()
        return etag

    def abort(self) -> None:
        """Remove every part.

        Raises:
            StorageFailed: S3 refused; a lifecycle rule has to remove them.
        """
        # A part that ends later would stay.
        self._pool.shutdown(cancel_futures=True)
        with suppress(_UploadGone):
            self._bucket.call("abort_multipart_upload", self._key, UploadId=self._id)


def _whole(parts: list[str | None]) -> str | None:
    """Return the ETag that S3 gives an object of parts with these MD5s."""
    digests = [bytes.fromhex(part) for part in parts if part is not None]
    if len(digests) < len(parts):
        return None
    return f"{_digest(b''.join(digests)).hex()}-{len(parts)}"


class _UploadGone(StorageFailed):
    """There is no such multipart upload, or not any more."""


@dataclass(frozen=True, slots=True)
class _Answer:
    etag: str
    md5: str | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket as boto3 reaches it; keys are relative to ``prefix``."""

    root: str
    name: str
    prefix: str
    client: Any

    @classmethod
    def open(cls, root: str, name: str, prefix: str) -> Self:
        """Reach a bucket by the environment variables that obstore reads, else as boto3 does.

        Raises:
            StorageFailed: the settings make no sense.
        """
        import boto3
        from botocore.exceptions import BotoCoreError

        try:
            client = boto3.session.Session().client("s3", **_settings())
        except (BotoCoreError, ValueError) as error:
            raise StorageFailed(root, "", str(error)) from error
        return cls(root, name, prefix, client)

    def key(self, key: str) -> str:
        """Return a key as the bucket has it."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def put(self, key: str, data: bytearray) -> str | None:
        """Write an object; returns the ETag that it has to have, if one can be known."""
        return self.send("put_object", key, data).md5

    def send(self, operation: str, key: str, data: bytearray, **more: Any) -> _Answer:
        """Send bytes with their MD5, by which S3 refuses others, and check the ETag it returns.

        Raises:
            StorageFailed: it is the MD5 of other bytes, or as ``call``.
        """
        digest = _digest(data)
        answer = self.call(operation, key, Body=data, ContentMD5=b64encode(digest).decode(), **more)
        etag = str(answer["ETag"])
        found, expected = self.md5(answer, etag), digest.hex()
        if found not in (None, expected):
            told = f"{operation}: expected the ETag {expected} of what was sent, found {etag}"
            raise StorageFailed(self.root, key, told)
        return _Answer(etag, found)

    def call(self, operation: str, key: str, source: Range | None = None, /, **more: Any) -> Any:
        """Call S3 about a key; ``source`` is what the call reads.

        Raises:
            ObjectNotFound, ObjectChanged: the source.
            _UploadGone: the upload that it names.
            StorageFailed: anything else.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self.client, operation)(Bucket=self.name, Key=self.key(key), **more)
        except ClientError as error:
            raise self._ours(_code(error), key, source, error) from error
        except BotoCoreError as error:
            raise StorageFailed(self.root, key, str(error)) from error

    def _ours(self, code: object, key: str, source: Range | None, error: Exception) -> Exception:
        if code == "NoSuchUpload":
            return _UploadGone(self.root, key, str(error))
        if source is None:
            return StorageFailed(self.root, key, str(error))
        if code == "NoSuchKey":
            return ObjectNotFound(self.root, source.key)
        if code == "PreconditionFailed":
            found = self._etag(source.key)
            return ObjectChanged(self.root, source.key, source.etag, found)
        told = f"bytes {source.start} to {source.end} for '{key}': {error}"
        return StorageFailed(self.root, source.key, told)

    def _etag(self, key: str) -> str | None:
        try:
            return str(self.call("head_object", key)["ETag"])
        except StorageFailed:
            return None

    def md5(self, answer: Mapping[str, Any], etag: str) -> str | None:
        """Return the MD5 that an ETag is; None where it only looks like one.

        Keys of KMS and directory buckets make ETags that are no MD5s.
        """
        encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256"
        found = _md5(etag)
        told = encrypted or self.name.endswith("--x-s3") or found is None or "-" in found
        return None if told else found


def _code(error: Any) -> object:
    return error.response.get("Error", {}).get("Code")


def _digest(data: Buffer) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _md5(etag: str | None) -> str | None:
    """Return the MD5 (of an object of parts: that of theirs and their number) that an ETag is."""
    found = _MD5.fullmatch((etag or "").strip('"'))
    return found.group() if found else None


def _settings() -> dict[str, Any]:
    from botocore import UNSIGNED
    from botocore.config import Config

    endpoint = _given("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    style = "path" if endpoint else "auto"
    if _is_set("AWS_VIRTUAL_HOSTED_STYLE_REQUEST"):
        style = "virtual"
    config = Config(
        # Parts carry their MD5s, which are signed: signing the bytes too would hash them once more.
        s3={"addressing_style": style, "payload_signing_enabled": False},
        signature_version=UNSIGNED if _is_set("AWS_SKIP_SIGNATURE") else None,
        # Parts are sent with their MD5s, so other sums would be worked out for nothing.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "max_attempts": 5},
        read_timeout=_ANSWER_SECONDS,
        max_pool_connections=8 * _THREADS,
    )
    region = _given("AWS_REGION", "AWS_DEFAULT_REGION")
    return {"config": config, "endpoint_url": endpoint, "region_name": region}


def _given(*names: str) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in _YES
