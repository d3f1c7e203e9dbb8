"""What is to be said of a month's fragments: those that wait, and those that no merge will take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pipelines.merging.finding import (
    Finding,
    Severity,
    merge_command,
    number,
    of_fragments,
    of_keys,
    of_objects,
    without_examples,
)
from pipelines.merging.headers import Kind, Odd, odd_headers
from pipelines.merging.holdings import Folder, Objects, Of
from pipelines.merging.layout import ARCHIVE, FRAGMENTS, archived
from pipelines.merging.parts import Fragment
from pipelines.merging.survey import Partition
from pipelines.storage import Storage
from schemas.registry import RecordType


def waiting(
    storage: Storage, partition: Partition, record: RecordType, codec: str, schema_policy: str
) -> Iterator[Finding]:
    """Yield what is to be said of fragments that are not merged; their headers are read."""
    bad = _known_bad(partition)
    groups: dict[str, list[Fragment]] = defaultdict(list)
    for fragment in partition.fragments:
        if fragment.key in bad:
            groups[bad[fragment.key]].append(fragment)
    daily = merge_command("daily", record.name, partition.month)
    for what, some in groups.items():
        told = f"{number(some, 'fragment')} left out by an earlier merge: {what}"
        finding = Finding("warning", told, "mend or remove them, then", f"{daily} --force")
        yield of_fragments(finding, some)
    fresh = [fragment for fragment in partition.fragments if fragment.key not in bad]
    odd = list(odd_headers(storage, fresh, record, codec))
    yield from _odd(odd, schema_policy)
    refused = ("unusable",) if schema_policy == "resolve" else ("unusable", "outdated")
    unusable = {each.fragment.key for each in odd if each.kind in refused}
    good = [fragment for fragment in fresh if fragment.key not in unusable]
    if good:
        days = {fragment.day for fragment in good}
        told = (
            f"{number(good, 'fragment')} of {number(days, 'day')} not merged yet: readers of the "
            "table do not see them"
        )
        yield without_examples(of_fragments(Finding("note", told, "", daily), good))


def _known_bad(partition: Partition) -> dict[str, str]:
    """Return what merges found wrong with fragments that are still the same."""
    versions = {fragment.key: fragment.version for fragment in partition.fragments}
    return {
        said["key"]: said["what"]
        for said in partition.details.get("bad", ())
        if said["key"] in versions and versions[said["key"]] == said["version"]
    }


def _odd(odd: Sequence[Odd], schema_policy: str) -> Iterator[Finding]:
    said: Mapping[Kind, tuple[Severity, str]] = {
        "unusable": ("error", "mend or remove them: no merge takes them, no reader sees them"),
        "outdated": ("warning", "left out unless merges.schemaPolicy is resolve"),
        "recoded": ("note", "nothing: a merge compresses their blocks anew"),
    }
    if schema_policy == "resolve":
        said = {**said, "outdated": ("note", "nothing: a merge rewrites them")}
    groups: dict[tuple[Kind, str], list[Fragment]] = defaultdict(list)
    for each in odd:
        groups[each.kind, each.what].append(each.fragment)
    for (kind, what), some in groups.items():
        severity, told = said[kind]
        text = f"{number(some, 'unmerged fragment')}: {what}"
        yield of_fragments(Finding(severity, text, told), some)


def missing(partition: Partition, in_archive: Objects) -> Iterator[Finding]:
    """Yield what the ledger names and what is nowhere, or is another file by now."""
    there = {each.key for each in in_archive}
    groups: dict[str, list[str]] = defaultdict(list)
    for problem in partition.problems:
        groups[problem.what].append(problem.key)
    for what, keys in groups.items():
        saved = sum(archived(key) in there for key in keys)
        told = f"{saved:,} of them lie in {ARCHIVE}/: copy those back" if saved else ""
        yield of_keys(Finding("error", f"{number(keys, 'fragment')}: {what}", told), keys)


def lying(
    partition: Partition, fragments: Mapping[Of, Objects], folders: Mapping[Of, Folder]
) -> Iterator[Finding]:
    """Yield what lies among fragments without being one that waits."""
    mine = {of: some for of, some in fragments.items() if of[1][:7] == partition.month}
    merged = partition.merged - partition.gone
    left = [each for some in mine.values() for each in some if each.key in merged]
    if left:
        told = (
            f"{number(left, 'fragment')} merged and still in {FRAGMENTS}/: no row is counted "
            "twice, but a merge did not come to its end, or they were put back by hand"
        )
        yield of_objects(Finding("warning", told, "remove them if the archive has them"), left)
    strays = set(partition.strays)
    landed = [
        each
        for of, some in mine.items()
        if of not in folders
        for each in some
        if each.key in strays
    ]
    if landed:
        told = f"{number(landed, 'file')} by whose name no merge takes them: expected <name>.avro"
        yield of_objects(Finding("note", told), landed)
