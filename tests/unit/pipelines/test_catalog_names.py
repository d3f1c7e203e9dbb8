from __future__ import annotations

import pytest

from pipelines.catalogs.names import Names
from pipelines.errors import CatalogFailed

KEY = "merged/candidate/2017-03/g000001-ab"


@pytest.mark.parametrize(
    ("root", "location"),
    [
        ("s3://bucket/lake", f"s3://bucket/lake/{KEY}"),
        ("s3://bucket/lake/", f"s3://bucket/lake/{KEY}/"),
        ("s3://bucket/lake", f"s3a://bucket/lake/{KEY}"),
        ("s3a://bucket/lake", f"s3://bucket/lake/{KEY}"),
        ("/data/lake", f"file:/data/lake/{KEY}"),
        ("file:///data/lake", f"file:/data/lake/{KEY}/"),
    ],
)
def test_a_location_is_known_by_every_way_to_write_it(root: str, location: str) -> None:
    assert Names("Glue", root, "muster").key("candidate", location) == KEY


@pytest.mark.parametrize(
    "location",
    [
        f"s3://bucket/lakes/{KEY}",
        f"s3://other/lake/{KEY}",
        "s3://bucket/lake/merged/candidates/2017-03/g000001-ab",
        "s3://bucket/lake/merged/candidate/2017-03",
        "s3://bucket/lake/fragments/candidate/g000001-ab",
        "s3://bucket/lake",
        "",
    ],
)
def test_what_is_no_generation_of_the_table_is_refused(location: str) -> None:
    names = Names("Glue", "s3://bucket/lake", "muster", "old_")
    expected = r"table muster\.old_candidate: expected a generation below s3://bucket/lake/merged"
    with pytest.raises(CatalogFailed, match=expected):
        names.key("candidate", location)
