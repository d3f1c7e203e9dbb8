"""Copy all objects' bytes into one: ``python -m benchmarks.peers.plain_s3 s3://BUCKET/FOLDER``.

The yardstick of merging on S3 where the objects are too small for S3 to copy them as parts. They
are read by eight threads, in order, while the parts of the target are written; nothing is checked.
The clock begins with the listing. What it writes is no Avro file.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import obstore
from obstore.store import from_url

from benchmarks.measure import Stopwatch, avro_files, folders
from benchmarks.merge_measure import concatenated, tell
from benchmarks.s3 import THREADS, download, keys, upload

#: Objects that are read or wait to be written.
AHEAD = 4 * THREADS
PART = 8 << 20
MERGED = "merged.avro"


def read_ahead(store: Any, found: Sequence[str]) -> Iterator[Any]:
    """Yield the objects' bytes in order, the next of them being read meanwhile."""
    with ThreadPoolExecutor(THREADS) as pool:
        pending: deque[Future[Any]] = deque()
        for key in found:
            if len(pending) == AHEAD:
                yield pending.popleft().result()
            pending.append(pool.submit(lambda key: obstore.get(store, key).bytes(), key))
        while pending:
            yield pending.popleft().result()


def copy(store: Any) -> None:
    parts = read_ahead(store, keys(store, "fragments"))
    obstore.put(store, MERGED, parts, use_multipart=True, chunk_size=PART, max_concurrency=4)


def main() -> None:
    source, out = folders(sys.argv[2:])
    root = upload(source, sys.argv[1])
    with Stopwatch() as watch:
        copy(from_url(root))
    (merged,) = download(root, [MERGED], out)
    sources = avro_files(source)
    tell(watch, sources, concatenated(sources, merged))


if __name__ == "__main__":
    main()
