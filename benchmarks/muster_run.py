"""Muster's side of the comparisons: ``python -m benchmarks.muster_run MODE IN_DIR OUT_DIR``.

``filter_band`` and ``dedupe_capacity`` put the sources, the kernel step and the lake sink together
as the main pipeline does, for records of the peers' shape. ``chain`` is the job ``solicit`` itself,
``codec`` decodes and encodes in one thread, as its peer does.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from benchmarks.measure import Stopwatch, avro_files, folders, report

SYNC_KEY = "00" * 32
HERE = Path(__file__).parent


def days(source: Path) -> tuple[str, ...]:
    """Return the units of generated events: the days that their folders name."""
    return tuple(sorted(f.name.removeprefix("date=") for f in (source / "events").iterdir()))


def refine(source: Path, out: Path, *, keyed: bool) -> Callable[[], None]:
    """Return the run of filters and band, with dedupe and capacity if ``keyed``."""
    import apache_beam as beam
    import polars as pl
    import pyarrow as pa
    from apache_beam.options.pipeline_options import PipelineOptions

    from benchmarks.peers import work
    from conf.environment import Runs
    from conf.load import load_program
    from pipelines.chain import Purpose, columns_needed
    from pipelines.context import RunContext
    from pipelines.failure import FAILURES, Lookback
    from pipelines.lake import LakeSettings
    from pipelines.reading import Reading, kernels, read
    from pipelines.sinks.lake import WriteFragments
    from pipelines.sources.avro import AvroSource
    from pipelines.step import PASSED, Outcome
    from pipelines.tally import TALLIES, Tally
    from schemas.registry import define
    from transforms.bands import Band
    from transforms.filters import Filters
    from transforms.kernel import Kernel, Split, UnitContext, nothing_rejected
    from transforms.verdict import DropLosers

    program = load_program(HERE / "programs" / "events.yaml")
    connector, runs = program.data_connectors[0], Runs()
    record = define(work.banded_schema())

    @dataclass(frozen=True)
    class AsScore:
        """Gives the event's own score the name that bands and capacity look for."""

        name: ClassVar[str] = "score"

        def __call__(self, frame: pl.DataFrame, _context: UnitContext) -> Split:
            return Split(frame.with_columns(pl.col("score").alias("score.fan")), nothing_rejected())

    def build(purpose: Purpose) -> Sequence[Kernel]:
        rules: list[Kernel] = [Filters(program.filter_chain)]
        if keyed and purpose is Purpose.OUTPUT:
            rules.append(DropLosers(program.capacity))
        return [*rules, AsScore(), Band(program.bands)]

    def to_table(frame: pl.DataFrame, _context: UnitContext, _split: int) -> pa.Table:
        return frame.select(record.arrow.names).to_arrow()

    def stop(wrong: object) -> None:
        raise RuntimeError(f"expected no failure and no damage, found {wrong}")

    def nothing(_outcome: Outcome) -> Tally:
        return Counter()

    def run() -> None:
        units = days(source)
        context = RunContext("bench", program.program_id, "0" * 64, "0")
        whole, keys = (
            AvroSource(
                str(source), connector, columns, runs.frame_rows, runs.split_bytes, runs.threads
            )
            for columns in (None, columns_needed(program, connector, Purpose.DECIDE))
        )
        reading = Reading(
            whole,
            keys,
            whole.plan(units, ()),
            Lookback(units, 14),
            context,
            lambda purpose: partial(build, purpose),
            program.dedupe if keyed else None,
            program.capacity if keyed else None,
            connector.order_by,
            True,
            runs.shards,
        )
        lake = LakeSettings(str(out), "snappy", SYNC_KEY)
        options = PipelineOptions(["--runner=FnApiRunner"])
        with beam.Pipeline(options=options) as pipeline:
            found = read(pipeline, reading)
            decided = found.batches | "rules" >> kernels(reading, Purpose.OUTPUT, nothing)
            sink = WriteFragments(lake, record, to_table, context, runs.threads)
            written = decided[PASSED] | beam.ParDo(sink).with_outputs(TALLIES, FAILURES, main="to")
            wrong = (*found.failures, found.damaged, decided[FAILURES], written[FAILURES])
            _ = wrong | beam.Flatten() | beam.Map(stop)

    return run


def chain(source: Path, out: Path) -> Callable[[], None]:
    """Return the run of the job itself, over all events, with the store left out."""
    from jobs.backfill.apply import Options, apply
    from jobs.backfill.loading import loader
    from jobs.backfill.plan import Request
    from jobs.backfill.planning import ledger_of, make_plan
    from jobs.outcomes import gather

    def run() -> None:
        units = days(source)
        environment = out.parent / "environment.yaml"
        environment.write_text(
            f"name: bench\nwarehouse: {{ url: 'duckdb://' }}\nsourceRoot: {source}\n"
            f"lake: {{ root: '{{out}}', syncKey: '{SYNC_KEY}' }}\nstore: null\n"
        )
        program = str(HERE / "programs" / "chain.yaml")
        request = Request("solicit", (program,), str(environment), str(out), units[0], units[-1])
        load = loader(request)
        applied = apply(make_plan(request, load), load, Options())
        work = load(program)
        names = {unit: work.context.unit_name(unit) for unit in units}
        made = gather(ledger_of(work), names, applied.run)
        if not all(unit.succeeded for unit in made):
            raise SystemExit("; ".join(str(unit.error) for unit in made if not unit.succeeded))

    return run


def codec(source: Path, out: Path) -> None:
    """Decode and encode every file, timing each way."""
    from schemas.codec import decode_file, encode_file
    from schemas.registry import record_type

    record = record_type("registration")
    decoding = encoding = 0.0
    with Stopwatch() as watch:
        for number, path in enumerate(avro_files(source)):
            start = time.perf_counter()
            frame = decode_file(path.read_bytes())
            read = time.perf_counter()
            data = encode_file(frame.to_arrow(), record, "snappy", sync=bytes(16))
            (out / f"part-{number:04d}.avro").write_bytes(data)
            decoding += read - start
            encoding += time.perf_counter() - read
    seconds = {"decode_seconds": round(decoding, 3), "encode_seconds": round(encoding, 3)}
    report(watch, source, out, **seconds)


def main() -> None:
    mode = sys.argv[1]
    source, out = folders(sys.argv[2:])
    if mode == "codec":
        codec(source, out)
        return
    made = chain(source, out) if mode == "chain" else None
    run = made or refine(source, out, keyed=mode == "dedupe_capacity")
    with Stopwatch() as watch:
        run()
    record = "candidate" if mode == "chain" else "bandedRegistration"
    checked = mode != "chain"  # candidates have other columns than the peers' records
    report(watch, source / "events", out / "fragments" / record, checked=checked)


if __name__ == "__main__":
    main()
