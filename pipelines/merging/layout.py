"""Where merged files, archived sources and receipts are in a lake.

```
fragments/<record type>/<program>/<day>/<name>.avro      what runs wrote, until it is merged
merged/<record type>/<month>/<generation>/<name>.avro    merged files; the table's location is the
                                                         first two, a partition's the first four
archive/<record type>/<program>/<day>/<name>.avro        fragments after their merge
receipts/<record type>/<month>/<generation>/<name>.json  what each merged file is made of
pointers/<record type>/<month>/<number>.json             the current generation, where no catalog is
```

A partition is a month. The daily merges of a month and its monthly merge each make a new
generation of it, and readers are switched from one to the next by one pointer.

Source: campaign-workers, "Data Consolidation Rules"; trap 3: only merged files lie under the
table's location.
"""

from __future__ import annotations

MERGED, ARCHIVE, FRAGMENTS = "merged", "archive", "fragments"
RECEIPTS, POINTERS = "receipts", "pointers"


def table(record_type: str) -> str:
    """Return where a record type's table is: all its generations lie below."""
    return f"{MERGED}/{record_type}"


def archived(fragment: str) -> str:
    """Return where a fragment is after its merge.

    >>> archived("fragments/candidate/product-reviews/2017-03-01/00000-000-ab.avro")
    'archive/candidate/product-reviews/2017-03-01/00000-000-ab.avro'
    """
    return ARCHIVE + fragment.removeprefix(FRAGMENTS)
