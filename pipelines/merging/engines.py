"""What maps work over items: threads of this process, or the tasks of a Spark cluster.

The driver plans and publishes; what costs is a list of independent items. Work and items are
pickled, and work is idempotent: Spark runs an item again when a task, an executor or a machine is
lost, and with speculation runs it twice at a time.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self

from pipelines.errors import PipelineError
from pipelines.workers import Item, Result, map_ahead

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Items for each thread that are taken before the first of them is done: a long one at the front
#: keeps no thread waiting.
_AHEAD = 8


class EngineFailed(PipelineError):
    """The engine cannot start or gave up, or an error of a task cannot be brought here."""


class Engine(Protocol):
    """Maps work over items; to be used in a ``with``, once or many times."""

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield ``work(item)`` in the order of ``items``; nothing is done until the first is asked.

        An exception of ``work`` is raised at the place of its item, with its class and message;
        items behind it may or may not have been done. Raises EngineFailed too.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...


class LocalEngine:
    """Maps in this process: never more than ``threads`` items are at work, whoever asks."""

    def __init__(self, threads: int = 2) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "muster work")

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the results in order; those that wait to be asked for are few."""
        return map_ahead(self._pool, work, items, _AHEAD * self.threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown(cancel_futures=True)


class SparkEngine:
    """Maps by one Spark job with a task an item; all results are held here, so they are small.

    Without a ``session`` it takes the one that is there, or makes one of what spark-submit, Glue or
    the environment says, with Hive's catalog if ``hive``. It stops only what it made.
    """

    def __init__(self, session: SparkSession | None = None, *, hive: bool = False) -> None:
        self._session = session
        self._hive = hive
        self._is_mine = False

    @property
    def session(self) -> SparkSession:
        """The session, made when it is first asked for. Raises EngineFailed without pyspark."""
        if self._session is None:
            self._session = self._found_or_made()
        return self._session

    def _found_or_made(self) -> SparkSession:
        try:
            from pyspark import SparkContext
            from pyspark.sql import SparkSession
        except ModuleNotFoundError as error:
            what = "expected pyspark (spark-submit and Glue bring it along), found no such module"
            raise EngineFailed(what) from error
        # There may be a context without a session (Glue's), and stopping a session stops both.
        self._is_mine = SparkContext._active_spark_context is None
        if "PYSPARK_GATEWAY_PORT" not in os.environ:
            # Nothing submitted this process: workers would be the first python3 on the path.
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder
        return (builder.enableHiveSupport() if self._hive else builder).getOrCreate()

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the results in order, once every item is done."""
        if items:
            for outcome in self._outcomes(_Task(work), items):
                if outcome.error is not None:
                    raise pickle.loads(outcome.error)
                yield from outcome.results

    def _outcomes(
        self, task: _Task[Item, Result], items: Sequence[Item]
    ) -> Iterator[_Outcome[Result]]:
        from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
        from pyspark.errors import PySparkException

        try:
            split = self.session.sparkContext.parallelize(items, len(items))
            outcomes = split.map(task).collect()
        # Spark's sessions turn some of the former into the latter.
        except (Py4JJavaError, PySparkException) as error:
            what = f"expected {len(items)} items to be done by Spark, found: {_reason(error)}"
            raise EngineFailed(what) from error
        outcomes.reverse()
        while outcomes:
            yield outcomes.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._session is not None and self._is_mine:
            self._session.stop()
            self._session, self._is_mine = None, False


def _reason(error: Any) -> str:
    """Return what Spark's error says in a line; its pages of stack are told by the cause.

    Where Python failed outside of the work, such as for want of a module, its own error says more
    than Spark's first line.
    """
    java = getattr(error, "java_exception", None)
    text = str(error if java is None else java.getMessage())
    trace = text.rpartition("Traceback (most recent call last):\n")[2]
    return next(line for line in [*trace.splitlines(), text] if not line.startswith(" "))


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[Result]):
    """What became of an item: one result, or an error that is pickled."""

    results: tuple[Result, ...] = ()
    error: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Task(Generic[Item, Result]):
    """Work whose errors are values.

    Raised in a task, an error would be tried four times and reach the driver as text.
    """

    work: Callable[[Item], Result]

    def __call__(self, item: Item) -> _Outcome[Result]:
        try:
            return _Outcome((self.work(item),))
        except Exception as error:  # noqa: BLE001
            error.add_note(f"In a task of Spark:\n{traceback.format_exc()}")
            return _Outcome(error=_pickled(error))


@dataclass(frozen=True, slots=True)
class _Bare:
    """An error without the call that makes it, for classes that are not called with ``args``."""

    error: Exception

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self.error), self.error.args, vars(self.error))


def _rebuilt(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


def _pickled(error: Exception) -> bytes:
    """Pickle an error such that class and message come back; else an EngineFailed that tells them.

    Most of our errors make their message of several arguments, and Python pickles them as a call
    with the message alone.
    """
    for form in (error, _Bare(error)):
        try:
            data = pickle.dumps(form)
            back = pickle.loads(data)
        except Exception:  # noqa: BLE001 (whatever a stranger's class does)
            continue
        if type(back) is type(error) and str(back) == str(error):
            return data
    told = EngineFailed(f"{type(error).__module__}.{type(error).__qualname__}: {error}")
    for note in error.__notes__:
        told.add_note(note)
    return pickle.dumps(told)
