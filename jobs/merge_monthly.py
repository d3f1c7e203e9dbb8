"""Merges months of the lake by Spark: what spark-submit, EMR and Glue are given."""

from __future__ import annotations

from jobs.merge import monthly
from jobs.merges.submitted import run_script

if __name__ == "__main__":
    run_script(monthly, "spark-submit merge_monthly.py --type candidate --month 2017-03")
