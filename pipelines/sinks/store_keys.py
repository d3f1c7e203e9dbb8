"""Keys of a candidate: the table's own, those of its two indexes, and the cursor of a page.

Source: solicitation-platform, "DynamoDB Schema". Ids may be any text: ``#`` and ``%`` are
percent-encoded inside keys, so that no id can forge the key of another candidate.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Self

from pipelines.errors import InvalidCursor, InvalidItem

_PK = re.compile(r"CUSTOMER#([^#]*)#PROGRAM#([^#]*)#MARKETPLACE#([^#]*)", re.DOTALL)
_SK = re.compile(r"SUBJECT#([^#]*)#([^#]*)", re.DOTALL)


def escape(text: str) -> str:
    """Return ``text`` without ``#``; ``unescape`` gives it back.

    >>> escape("50% #1")
    '50%25 %231'
    """
    return text.replace("%", "%25").replace("#", "%23")


def unescape(text: str) -> str:
    """Return the text that ``escape`` was given."""
    return text.replace("%23", "#").replace("%25", "%")


@dataclass(frozen=True, slots=True, order=True)
class CandidateKey:
    """What identifies a candidate (property 12).

    >>> CandidateKey("7", "product-reviews", "US", "product", "A#1").sk
    'SUBJECT#product#A%231'
    """

    customer_id: str
    program_id: str
    marketplace_id: str
    subject_type: str
    subject_id: str

    @property
    def pk(self) -> str:
        """The partition key."""
        return (
            f"{customer_prefix(self.customer_id)}{escape(self.program_id)}"
            f"#MARKETPLACE#{escape(self.marketplace_id)}"
        )

    @property
    def sk(self) -> str:
        """The sort key."""
        return f"SUBJECT#{escape(self.subject_type)}#{escape(self.subject_id)}"

    @classmethod
    def parse(cls, pk: str, sk: str) -> Self:
        """Read a key back; raises ``InvalidItem`` for text that is no key."""
        partition, sort = _PK.fullmatch(pk), _SK.fullmatch(sk)
        if partition is None or sort is None:
            raise InvalidItem(
                "expected PK 'CUSTOMER#..#PROGRAM#..#MARKETPLACE#..' and SK 'SUBJECT#..#..', "
                f"found {pk!r} and {sk!r}"
            )
        return cls(*map(unescape, (*partition.groups(), *sort.groups())))

    def __str__(self) -> str:
        return f"{self.pk} {self.sk}"


def customer_prefix(customer_id: str) -> str:
    """Return what the partition keys of a customer start with."""
    return f"CUSTOMER#{escape(customer_id)}#PROGRAM#"


def channel_key(program_id: str, channel_id: str) -> str:
    """Return the partition key in the ProgramChannelIndex."""
    return f"PROGRAM#{escape(program_id)}#CHANNEL#{escape(channel_id)}"


def score_key(score: float, customer_id: str) -> str:
    """Return the sort key in the ProgramChannelIndex; its text order is the order of scores.

    ``score`` lies in 0..1 and is rounded to six decimals.

    >>> score_key(0.25, "7")
    'SCORE#0.250000#CUSTOMER#7'
    """
    return f"SCORE#{score:.6f}#CUSTOMER#{escape(customer_id)}"


def date_key(program_id: str, day: date | str) -> str:
    """Return the partition key in the ProgramDateIndex; ``day`` as text is ``YYYY-MM-DD``."""
    return f"PROGRAM#{escape(program_id)}#DATE#{day}"


def created_key(created_at: str, customer_id: str) -> str:
    """Return the sort key in the ProgramDateIndex; ``created_at`` is ISO 8601 in UTC."""
    return f"CREATED#{created_at}#CUSTOMER#{escape(customer_id)}"


def encode_cursor(query: str, last: tuple[str, ...]) -> str:
    """Return the cursor of the page that ends with the sort columns ``last`` of ``query``."""
    return base64.urlsafe_b64encode(json.dumps([query, *last]).encode()).decode()


def decode_cursor(query: str, cursor: str) -> tuple[str, ...]:
    """Return where the page before ended; raises ``InvalidCursor`` if it was another query's."""
    try:
        found, *last = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidCursor(f"this is no cursor: {cursor!r}") from error
    if found != query:
        raise InvalidCursor(f"the cursor belongs to another query: expected {query}, found {found}")
    return tuple(last)
