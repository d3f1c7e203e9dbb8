"""What a run costs: a table of list prices and the amounts that are billed.

Storage, transfer between regions and free allowances are not in it: it prices what a run does, not
what it leaves behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from conf.program import Identifier, Settings

_THOUSAND, _MILLION, _HOUR, _TERABYTE = 1_000, 1_000_000, 3_600, 1 << 40

#: An amount of money, never negative.
Price = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Usage:
    """What is billed of a run, or of a part of one.

    ``puts`` and ``gets`` are requests to the lake, ``write_units`` what the candidate store takes
    (one for each started KB of an item), ``worker_seconds`` the time of all workers together,
    ``scanned_bytes`` what the warehouse reads.

    >>> Usage(puts=1, worker_seconds=0.5) + Usage(puts=2, gets=4)
    Usage(puts=3, gets=4, write_units=0, worker_seconds=0.5, scanned_bytes=0)
    """

    puts: int = 0
    gets: int = 0
    write_units: int = 0
    worker_seconds: float = 0.0
    scanned_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.puts + other.puts,
            self.gets + other.gets,
            self.write_units + other.write_units,
            self.worker_seconds + other.worker_seconds,
            self.scanned_bytes + other.scanned_bytes,
        )


class PriceTable(Settings):
    """Prices as their YAML file says them, without tax or discount.

    ``date`` is the day they were read and ``source`` where; ``worker_hour`` is one worker of 2 vCPU
    and 8 GiB; a terabyte is 2**40 bytes.
    """

    name: Identifier
    date: date
    currency: Literal["USD"]
    source: Annotated[str, Field(min_length=1)]
    puts_per_thousand: Price
    gets_per_thousand: Price
    write_units_per_million: Price
    worker_hour: Price
    scanned_per_terabyte: Price

    def price(self, usage: Usage) -> float:
        """Return what ``usage`` costs in ``currency``, rounded to six decimals.

        >>> from conf.load import load_prices
        >>> table = load_prices("aws-us-east-1")
        >>> table.price(Usage(puts=2_000)), table.price(Usage(write_units=1_000_000))
        (0.01, 0.625)
        """
        cost = (
            usage.puts * self.puts_per_thousand / _THOUSAND
            + usage.gets * self.gets_per_thousand / _THOUSAND
            + usage.write_units * self.write_units_per_million / _MILLION
            + usage.worker_seconds * self.worker_hour / _HOUR
            + usage.scanned_bytes * self.scanned_per_terabyte / _TERABYTE
        )
        return round(cost, 6)
