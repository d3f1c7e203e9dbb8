"""A command of ``muster merge`` as the script that spark-submit and Glue are given."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from inspect import cleandoc

import click

from jobs.entry import Told, quiet_libraries

#: What Glue adds to a script's arguments by itself, and what it takes from them for itself.
#: Source: AWS Glue Developer Guide, "Using job parameters in AWS Glue jobs" (reference, and the
#: names that are internal to Glue), "Accessing workflow run properties", and awsglue's ``Job``.
_RESERVED = """
    JOB_NAME JOB_ID JOB_RUN_ID SECURITY_CONFIGURATION WORKFLOW_NAME WORKFLOW_RUN_ID
    conf debug mode endpoint encryption-type TempDir RedshiftTempDir
    additional-python-modules extra-py-files extra-files extra-jars user-jars-first
    scriptLocation job-language class datalake-formats disable-proxy-v2 executor-cores
    job-bookmark-option job-bookmark-from job-bookmark-to continuation-option
    customer-driver-env-vars customer-executor-env-vars use-postgres-driver
    continuous-log-logGroup continuous-log-logStreamPrefix continuous-log-conversionPattern
    spark-event-logs-path auto-scale-within-microbatch
    write-shuffle-files-to-s3 write-shuffle-spills-to-s3
    enable-auto-scaling enable-continuous-cloudwatch-log enable-continuous-log-filter
    enable-glue-datacatalog enable-job-insights enable-lakeformation-fine-grained-access
    enable-metrics enable-observability-metrics enable-rename-algorithm-v2
    enable-s3-parquet-optimized-committer enable-spark-ui
"""
#: Never without a value, which is an option itself: one of pip.
_WITH_OPTION = "python-modules-installer-option"


def run_script(command: click.Command, example: str) -> None:
    """Run a command with this process's arguments and Spark as its engine.

    Arguments that Glue reserves are passed over when ``--JOB_NAME`` is among them, as Glue has it;
    elsewhere they are refused, since a ``--conf`` behind the script is a mistake. Returns where the
    command would exit with 0: not every host takes that for success.
    """
    quiet_libraries()
    arguments = sys.argv[1:]
    try:
        _script(command, example, arguments).main(arguments, default_map={"engine": "spark"})
    except SystemExit as end:
        if end.code:
            raise


def _script(command: click.Command, example: str, arguments: Sequence[str]) -> click.Command:
    about = cleandoc(command.help or "").partition("\b")[0].rstrip()
    is_glue = any(each.partition("=")[0] == "--JOB_NAME" for each in arguments)
    return Told(
        command.name,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=command.callback,
        params=[*command.params, *(_passed_over() if is_glue else ())],
        help=f"{about}\n\n\b\nExample:\n  {example}",
    )


def _passed_over() -> Iterator[click.Option]:
    """Yield Glue's options; most may stand without a value, as ``--enable-metrics`` does."""
    hidden = partial(click.Option, hidden=True, expose_value=False)
    yield hidden([f"--{_WITH_OPTION}"])
    for name in _RESERVED.split():
        yield hidden([f"--{name}"], is_flag=False, flag_value="")
