from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from conf.errors import ConfigurationError
from jobs.cli import main

ANY = ("run", "solicit", "--from", "2017-03-01")
WEEK = (*ANY, "--program", "product-reviews")


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    inner = [commands(each, (*path, name)) for name, each in sorted(command.commands.items())]
    return [each for some in inner for each in some]


@pytest.mark.parametrize("path", [(), *commands(main)], ids=" ".join)
def test_the_help_of_every_command_has_an_example(runner: CliRunner, path: tuple[str, ...]) -> None:
    for flag in ("--help", "-h"):
        result = runner.invoke(main, [*path, flag])
        assert result.exit_code == 0
        assert "Example:" in result.output
        assert f"muster {' '.join(path)}" in result.output.partition("Example:")[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--from", "yesterday"), "expected a day like 2017-03-01, found 'yesterday'"),
        (("--from", "2017-02-30"), "expected a day like 2017-03-01, found '2017-02-30'"),
        (("--to", "1.3.2017"), "expected a day like 2017-03-01, found '1.3.2017'"),
        (("--to", "2017-02-28"), "--to: expected 2017-03-01 (--from) or later, found 2017-02-28"),
        (("--nonsense",), "No such option"),
    ],
)
def test_wrong_use_exits_2(runner: CliRunner, arguments: tuple[str, ...], told: str) -> None:
    result = runner.invoke(main, [*WEEK, *arguments])
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output


def refused(runner: CliRunner, *arguments: str) -> Result:
    result = runner.invoke(main, [*arguments])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result


def test_an_unknown_program_is_told_with_those_there_are(runner: CliRunner) -> None:
    result = refused(runner, *ANY, "--program", "nothing")
    assert "'nothing'" in result.output
    assert "product-reviews" in result.output


def test_an_unknown_environment_is_told_with_those_there_are(runner: CliRunner) -> None:
    result = refused(runner, *WEEK, "--env", "moon")
    assert "'moon'" in result.output
    assert "local" in result.output


def test_a_bad_file_is_told_with_every_problem_on_a_line(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("programId: Bad Id\nenabled: 3\nsurprise: 1\n")
    lines = refused(runner, *ANY, "--program", "bad.yaml").stderr.splitlines()
    for key in ("programId", "enabled", "surprise", "filterChain"):
        assert len([line for line in lines if "bad.yaml" in line and key in line]) == 1


def test_debug_shows_the_traceback(runner: CliRunner) -> None:
    result = runner.invoke(main, ["--debug", *ANY, "--program", "nothing"])
    assert isinstance(result.exception, ConfigurationError)


def test_the_jobs_are_listed(runner: CliRunner) -> None:
    result = runner.invoke(main, ["jobs"])
    assert result.exit_code == 0
    assert "solicit" in result.output
    (job,) = [
        j
        for j in json.loads(runner.invoke(main, ["jobs", "--json"]).output)
        if j["name"] == "solicit"
    ]
    assert set(job) == {"name", "what", "sources", "sinks", "grain"}
    assert job["sources"] == ["warehouse", "avro"]


def test_every_job_that_is_listed_can_be_run(runner: CliRunner) -> None:
    listed = {job["name"] for job in json.loads(runner.invoke(main, ["jobs", "--json"]).output)}
    run = {path[1] for path in commands(main) if path[0] == "run"}
    assert listed == run | {path[0] for path in commands(main) if path[0] == "merge"}


def test_the_version_is_told(runner: CliRunner) -> None:
    assert runner.invoke(main, ["--version"]).output.startswith("muster ")
