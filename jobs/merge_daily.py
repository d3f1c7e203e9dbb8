"""Merges days of the lake by Spark: what spark-submit, EMR and Glue are given."""

from __future__ import annotations

from jobs.merge import daily
from jobs.merges.submitted import run_script

if __name__ == "__main__":
    run_script(daily, "spark-submit merge_daily.py --type candidate --date 2017-03-01")
