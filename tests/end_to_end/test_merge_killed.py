"""A merge that dies at any moment, and is asked for again, ends as if nothing had happened.

A child process merges a small lake and kills itself before its nth write; what readers see then is
looked at before anybody goes on; then the same merge is asked for again. This is done for every n
of a daily merge, a monthly merge, a merge of late files, and one of a day that was made anew.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.backfill.apply import Options
from jobs.backfill.plan import Request
from jobs.code_fingerprint import Code
from jobs.merges.loading import merge_loader
from jobs.merges.options import MergeOptions
from pipelines.ledger.ledger import Ledger
from pipelines.merging.parts import Kind
from tests.end_to_end.dying import AT_ONCE, ROOT, Doom, Fault, doom_storage, log_to, run_child
from tests.properties.merges import File, MergedLake, Rows, day, of_all

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

TYPES = ("candidate", "rejection")
Tree = dict[str, Any]


# --- what is merged -------------------------------------------------------------------------------


def _files(record: str, number: int) -> list[File]:
    """Return a day's files of the program ``reviews``."""
    rows = range(10 * number, 10 * number + 7)
    return [
        File(record, day(number), "00000-000", tuple(rows)),
        File(record, day(number), "00001-000", tuple(rows)[:3], sync=number),
    ]


DAYS = {n: [file for record in TYPES for file in _files(record, n)] for n in range(3)}
LATE = [
    File("candidate", day(1), "late", (101, 102, 103), program="landed", codec="deflate"),
    File("rejection", day(2), "late", (104, 101), program="landed", ours=False),
]
ANEW = [File(record, day(1), "00000-000", (201, 202)) for record in TYPES]


def _fragments(lake: MergedLake) -> None:
    for number, files in DAYS.items():
        lake.publish("reviews", day(number), files)


def _nothing(lake: MergedLake) -> None:
    """Add nothing to a lake."""


@dataclass(frozen=True)
class Step:
    """A merge of a lake to which ``prepare`` adds something first; ``rows`` is what it makes."""

    name: str
    prepare: Callable[[MergedLake], object]
    kind: Kind
    rows: list[File]
    force: bool = False

    def request(self, out: Path) -> Request:
        options = MergeOptions(self.kind, force=self.force).document()
        return Request("merge", TYPES, "local", str(out), day(0), day(30), options=options)

    def again(self, lake: MergedLake) -> int:
        return lake.merge(self.kind, *TYPES, force=self.force).exit_code


_FIRST = [file for files in DAYS.values() for file in files]
STEPS = (
    Step("daily", _fragments, "daily", _FIRST),
    Step("monthly", _nothing, "monthly", _FIRST),
    Step("late", lambda lake: lake.put(LATE), "daily", [*_FIRST, *LATE], force=True),
    Step(
        "anew",
        lambda lake: lake.publish("reviews", day(1), ANEW),
        "daily",
        [*DAYS[0], *DAYS[2], *LATE, *ANEW],
    ),
)


# --- in the child ---------------------------------------------------------------------------------


def _child(request: Request, fault: Fault | None, codes: dict[str, Code]) -> None:
    """Do what ``muster merge`` does; what was done stands in ``writes.json`` of one that lived."""
    from jobs.backfill.planning import make_plan
    from jobs.merges.application import carry_out

    gc.disable()  # a child is short, and there are many
    out = Path(request.out)
    log_to(out)
    doom = Doom(fault)
    doom_storage(doom)
    load = merge_loader(request)
    for name, code in codes.items():
        vars(load(name))["code"] = code  # slow to find out, and the same in every child
    outcome = carry_out(make_plan(request, load), load, Options())
    (out / "writes.json").write_text(json.dumps(doom.writes))
    sys.exit(outcome.exit_code)


# --- what is left of it ---------------------------------------------------------------------------


def _tree(lake: MergedLake) -> Tree:
    """Return every object but those of the ledger, which holds the clock.

    Receipts come without ETags: that of a local file is made of its inode and its time, so no two
    lakes have the same. Every other byte of a receipt must agree.
    """
    return {
        str(path.relative_to(lake.root)): _without_etags(path)
        for path in sorted(lake.root.rglob("*"))
        if path.is_file() and "_ledger" not in path.parts
    }


def _without_etags(path: Path) -> Any:
    data = path.read_bytes()
    if "receipts" not in path.parts or path.suffix != ".json":
        return data
    said = json.loads(data)
    del said["output"]["etag"]
    for source in said["sources"]:
        del source["etag"]
    etag = said["segmentFields"].index("etag")
    for segment in said["segments"]:
        del segment[etag]
    return said


def _seen(lake: MergedLake) -> dict[str, Rows]:
    """Return what readers find by the catalog's pointers."""
    return {record: lake.rows(record) for record in TYPES}


def _expected(files: list[File]) -> dict[str, Rows]:
    return {record: of_all(f for f in files if f.record == record) for record in TYPES}


# --- one merge, killed everywhere -----------------------------------------------------------------


@dataclass(frozen=True)
class Undisturbed:
    """A merge that nothing disturbed: where it began, what it wrote, and what it left."""

    step: Step
    before: Path
    writes: list[str]
    left: Tree
    seen: tuple[dict[str, Rows], dict[str, Rows]]
    codes: dict[str, Code]


def _copy(before: Path, out: Path) -> MergedLake:
    """Begin where another lake is: links keep the ETags, and no object is ever changed in place."""
    shutil.copytree(before, out, copy_function=os.link)
    (out / "child.log").unlink(missing_ok=True)
    return MergedLake(out)


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Undisturbed]]:
    """All steps, one after the other, without a fault."""
    folder = tmp_path_factory.mktemp("merges")
    found: dict[str, Undisturbed] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # where a child finds this module
        lake = MergedLake(folder / "lake")
        load = merge_loader(STEPS[0].request(lake.out))
        codes = {name: load(name).code for name in TYPES}
        for step in STEPS:
            step.prepare(lake)
            before = folder / f"before-{step.name}"
            saw = _seen(_copy(lake.out, before))
            assert run_child(_child, step.request(lake.out), None, {}) == 0, _log(lake.out)
            writes = json.loads((lake.out / "writes.json").read_text())
            seen = (saw, _seen(lake))
            found[step.name] = Undisturbed(step, before, writes, _tree(lake), seen, codes)
        yield found


def _log(out: Path) -> str:
    return (out / "child.log").read_text()


def _disturbed(whole: Undisturbed, fault: Fault) -> list[str]:
    """Kill a merge and ask for the same again; return what is not as it would have been."""
    out = whole.before.with_name(f"{whole.step.name}-{fault.at}")
    lake = _copy(whole.before, out)
    code = run_child(_child, whole.step.request(out), fault, whole.codes)
    if code != -signal.SIGKILL:
        return [f"expected it to be killed, found exit code {code}"]
    told = [
        f"{record}: killed, readers see {rows.total()} rows, neither those before nor those after"
        for record, rows in _seen(lake).items()
        if rows not in (whole.seen[0][record], whole.seen[1][record])
    ]
    if (code := whole.step.again(lake)) != 0:
        return [*told, f"expected exit code 0, found {code}"]
    found = _tree(lake)
    differ = (key for key in {*found, *whole.left} if found.get(key) != whole.left.get(key))
    told += sorted(differ)
    shutil.rmtree(out)
    return told


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_merge_makes_what_it_is_to_make(merges: dict[str, Undisturbed], step: Step) -> None:
    """What the others are compared with: all rows once, read by fastavro."""
    whole = merges[step.name]
    assert whole.seen[1] == _expected(step.rows)
    assert whole.step.name == "monthly" or whole.seen[0] != whole.seen[1]
    does = {what.split()[0] for what in whole.writes}
    assert does >= {"create", "write", "close", "copy"}
    assert "delete" in does or step.name == "monthly"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_merge_that_is_killed_anywhere_ends_as_if_it_was_not(
    merges: dict[str, Undisturbed], step: Step
) -> None:
    whole = merges[step.name]
    faults = [Fault(n + 1) for n in range(len(whole.writes))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda fault: _disturbed(whole, fault), faults))
    wrong = zip(faults, whole.writes, found, strict=True)
    assert {f"{fault} ({what})": told for fault, what, told in wrong if told} == {}


def test_what_a_killed_merge_left_half_written_is_removed(
    merges: dict[str, Undisturbed],
) -> None:
    """A file that no receipt names, and one that was half written when the power went."""
    whole = merges["daily"]
    out = whole.before.with_name("half-written")
    lake = _copy(whole.before, out)
    closing = [what.startswith("close") for what in whole.writes].index(True)
    assert run_child(_child, whole.step.request(out), Fault(closing + 1), whole.codes) < 0
    last = Ledger(lake.storage).latest("merge")
    (location,) = (r.details["location"] for r in last.values() if r.event == "progressed")
    lake.storage.write(f"{location}/nobody.avro", [b"from another attempt"])
    (lake.root / location / "half.avro#1").write_bytes(b"half")
    assert whole.step.again(lake) == 0
    assert _tree(lake) == whole.left


# --- two merges at once, by the command -----------------------------------------------------------

MONTHLY = ("merge", "monthly", "--month", "2017-03", "--out", "out")
MANY = [
    File("candidate", day(n % 3), f"part-{n}", tuple(range(n, n + 5)), codec="deflate")
    for n in range(300)
]


def _start(muster: Any, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        muster.arguments(*arguments),
        cwd=muster.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def lake(muster: Any) -> MergedLake:
    lake = MergedLake(muster.folder / "out")
    lake.put(MANY)
    return lake


@pytest.fixture
def at_work(muster: Any, lake: MergedLake) -> Iterator[subprocess.Popen[str]]:
    """A merge that holds the month, and stands still."""
    running = _start(muster, *MONTHLY)
    leased = lake.root / "_ledger/units/merge/candidate/2017-03/000002.json"
    deadline = time.monotonic() + 60
    while not leased.exists():
        assert running.poll() is None, "it ended before it could be held"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    running.send_signal(signal.SIGSTOP)
    yield running
    running.send_signal(signal.SIGCONT)
    running.communicate(timeout=60)


def _is_merged_once(lake: MergedLake) -> None:
    assert lake.rows("candidate") == of_all(MANY)
    assert [found.key for found in lake.storage.list("merged")] == [*_pointed(lake)]


def _pointed(lake: MergedLake) -> tuple[str, ...]:
    pointer = lake.pointer("candidate")
    assert pointer is not None
    return pointer.files


def test_of_two_merges_of_a_month_one_wins_and_the_other_says_so(
    muster: Any, lake: MergedLake, at_work: subprocess.Popen[str]
) -> None:
    told = muster(*MONTHLY, code=3)
    assert "expected nobody at work on it, found run" in told.stderr
    assert f"process {at_work.pid} on" in told.stderr
    assert "Traceback" not in told.stderr
    assert lake.pointer("candidate") is None
    at_work.send_signal(signal.SIGCONT)
    at_work.communicate(timeout=60)
    assert at_work.returncode == 0
    _is_merged_once(lake)


def test_a_second_merge_of_a_month_may_wait_for_the_first(
    muster: Any, lake: MergedLake, at_work: subprocess.Popen[str]
) -> None:
    second = _start(muster, *MONTHLY, "--wait")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(4)
    at_work.send_signal(signal.SIGCONT)
    at_work.communicate(timeout=60)
    _, told = second.communicate(timeout=60)
    assert (at_work.returncode, second.returncode) == (0, 0), told
    _is_merged_once(lake)


def test_two_merges_that_start_together_and_wait_both_end_well(
    muster: Any, lake: MergedLake
) -> None:
    both = [_start(muster, *MONTHLY, "--wait") for _ in range(2)]
    told = [each.communicate(timeout=120)[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], told
    _is_merged_once(lake)
