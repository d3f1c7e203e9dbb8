"""Registration-like events: every row is a pure function of the seed and its position."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

FIRST_DAY = datetime(2017, 3, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
#: Fresh (customer, subject) pairs are three in four; of the others some refer to no fresh row.
REPEATED = 0.25
COUNTRIES = (
    ("US", "US", 0.45),
    ("GB", "GB", 0.60),
    ("DE", "DE", 0.72),
    ("FR", "FR", 0.80),
    ("JP", "JP", 0.88),
    ("CA", "US", 0.93),
    ("ES", "FR", 0.96),
    ("BR", "US", 0.98),
    ("MX", "US", 1.00),
)
CITIES = pl.Series(
    [f"{stem}{ending}" for stem in ("Ash", "Oak", "Stone", "Mill", "King", "North", "Lake", "Fair")
     for ending in ("ford", "ton", "ham", "bury", "field", "port", "view", "dale")]
)  # fmt: skip

UInts = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


def _mixed(index: UInts, salt: int) -> UInts:
    """Return splitmix64 of ``index`` under ``salt``: the same on every machine and version."""
    z = index * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt * 0xD1B54A32D192ED03 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _uniform(index: UInts, salt: int) -> Floats:
    """Return numbers in [0, 1), one an index."""
    return (_mixed(index, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one data set: ``rows`` spread evenly over ``days``, in rough time order.

    About a fifth of the rows repeat a customer and subject seen before (all days lie within
    14 days), customers and subjects are skewed, and two to four rows in a hundred fail each of
    the filters that the peers apply.
    """

    rows: int
    days: int = 8
    seed: int = 1

    def frame(self, start: int, stop: int) -> pl.DataFrame:
        """Return rows ``start`` up to ``stop`` in the order of registration.v1's fields."""
        index = np.arange(start, stop, dtype=np.uint64)
        pair = self._pair(index)
        customer = self._skewed(pair, 1, max(1, self.rows // 4))
        subject = self._skewed(pair, 2, max(1, self.rows // 20))
        frame = pl.DataFrame(
            {
                "customer": customer * np.uint64(0x9E3779B1) % np.uint64(2**32),
                "subject": subject * np.uint64(0x85EBCA6B) % np.uint64(2**32),
                "country": self._country(customer),
                "city": self._draw(customer, 4, len(CITIES)),
                "eventDate": self._milliseconds(index),
                "orderValue": np.floor(self._u(index, 5) ** 2 * 100_000.0) / 100.0,
                "quantity": self._quantity(index),
                "email": self._u(customer, 7) < 0.7,
                "phone": self._u(customer, 8) < 0.4,
                "optIn": self._u(index, 9) >= 0.03,
                "score": np.floor(self._u(index, 10) * 10_000.0) / 10_000.0,
            }
        )
        return frame.select(**_COLUMNS)

    def _u(self, index: UInts, column: int) -> Floats:
        return _uniform(index, self.seed * 1_000 + column)

    def _draw(self, index: UInts, column: int, choices: int) -> npt.NDArray[np.int64]:
        return (self._u(index, column) * choices).astype(np.int64)

    def _pair(self, index: UInts) -> UInts:
        """Return the row whose customer and subject each row has: its own or an earlier one's."""
        earlier = (self._u(index, 12) * index.astype(np.float64)).astype(np.uint64)
        return np.where(self._u(index, 11) < REPEATED, earlier, index)

    def _skewed(self, index: UInts, column: int, size: int) -> UInts:
        u = self._u(index, column)
        return (u * u * np.sqrt(u) * size).astype(np.uint64)

    def _country(self, customer: UInts) -> npt.NDArray[np.intp]:
        upto = np.array([country[2] for country in COUNTRIES])
        place: npt.NDArray[np.intp] = np.searchsorted(upto, self._u(customer, 3), side="right")
        return place

    def _quantity(self, index: UInts) -> npt.NDArray[np.int32]:
        """Return mostly 1 to 8, one in a hundred 0 and one in a hundred 51 to 99."""
        u = self._u(index, 6)
        usual = 1 + (u * u * 8.0).astype(np.int32)
        bulk = 51 + (u * 1e6).astype(np.int32) % 49
        kind = self._u(index, 13)
        return np.where(kind < 0.01, 0, np.where(kind > 0.99, bulk, usual)).astype(np.int32)

    def _milliseconds(self, index: UInts) -> npt.NDArray[np.int64]:
        """Return whole seconds, up to ten minutes out of order, within the day of the row."""
        day, rest = np.divmod(index * np.uint64(self.days), np.uint64(self.rows))
        second = rest.astype(np.float64) * (DAY_SECONDS / self.rows)
        late = np.floor(second) + self._draw(index, 14, 1_200) - 600.0
        since = day.astype(np.float64) * DAY_SECONDS + np.clip(late, 0, DAY_SECONDS - 1)
        return (since.astype(np.int64) + int(FIRST_DAY.timestamp())) * 1_000


def _digits(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).str.zfill(10)


def _text_of(values: pl.Series, name: str) -> pl.Expr:
    return pl.col(name).map_batches(values.gather, return_dtype=pl.String)


_CODES = pl.Series([c[0] for c in COUNTRIES])
_MARKETS = pl.Series([c[1] for c in COUNTRIES])
_COLUMNS = {
    "customerId": "C" + _digits("customer"),
    "subjectId": "S" + _digits("subject"),
    "marketplace": _text_of(_MARKETS, "country"),
    "eventDate": pl.col("eventDate").cast(pl.Datetime("ms", "UTC")),
    "orderValue": pl.col("orderValue"),
    "quantity": pl.col("quantity"),
    "email": pl.when("email").then("c" + _digits("customer") + "@example.com"),
    "phone": pl.when("phone").then("+1555" + _digits("customer")),
    "city": _text_of(CITIES, "city"),
    "country": _text_of(_CODES, "country"),
    "optIn": pl.col("optIn"),
    "score": pl.col("score"),
}
