"""What Glue says when it is not well, which no server says when it is asked to."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from pipelines.catalogs.catalog import Pointer
from pipelines.catalogs.glue import GlueCatalog, GlueProjection
from pipelines.errors import CatalogFailed

ROOT, MARCH = "s3://bucket/lake", "2017-03"
POINTER = Pointer("candidate", MARCH, 2, "merged/candidate/2017-03/g000002-a", ())
TABLE = {"Table": {"Name": "candidate", "StorageDescriptor": {"Location": f"{ROOT}/merged/"}}}


def client(endpoint: str = "https://glue.invalid") -> Any:
    return boto3.client(
        "glue",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2),
    )


@pytest.mark.parametrize(
    ("code", "status", "transient"),
    [
        ("ThrottlingException", 400, True),
        ("OperationTimeoutException", 400, True),
        ("InternalServiceException", 500, True),
        ("Unknown", 503, True),
        ("AccessDeniedException", 400, False),
        ("InvalidInputException", 400, False),
        ("EntityNotFoundException", 400, False),
    ],
)
def test_what_waiting_may_mend_is_told_apart(code: str, status: int, transient: bool) -> None:
    glue = client()
    with Stubber(glue) as said:
        said.add_client_error("get_table", code, "no", http_status_code=status)
        with pytest.raises(CatalogFailed, match=r"catalog Glue: table muster\.candidate") as caught:
            GlueCatalog(ROOT, "muster", "", glue).switch(POINTER)
    assert caught.value.transient is transient


def test_a_server_that_is_not_there_may_be_asked_again() -> None:
    glue = client("http://127.0.0.1:9")
    with pytest.raises(CatalogFailed, match="Could not connect") as caught:
        GlueCatalog(ROOT, "muster", "", glue).current("candidate", MARCH)
    assert caught.value.transient


def test_a_partition_is_updated_by_one_request_that_gives_it_all_but_a_location() -> None:
    glue = client()
    storage = {
        "Columns": [{"Name": "customerid", "Type": "string"}],
        "Location": f"{ROOT}/merged/candidate",
        "SerdeInfo": {"Parameters": {"avro.schema.literal": "{}"}},
    }
    former = {"Location": f"{ROOT}/merged/candidate/2017-03/g000001-b"}
    where = {"DatabaseName": "muster", "TableName": "old_candidate"}
    with Stubber(glue) as said:
        said.add_response("get_table", {"Table": {"Name": "x", "StorageDescriptor": storage}})
        said.add_response("get_partition", {"Partition": {"StorageDescriptor": former}})
        said.add_response(
            "update_partition",
            {},
            {
                **where,
                "PartitionValueList": [MARCH],
                "PartitionInput": {
                    "Values": [MARCH],
                    "StorageDescriptor": {**storage, "Location": f"{ROOT}/{POINTER.location}/"},
                    "Parameters": {"muster.generation": "2"},
                },
            },
        )
        GlueCatalog(ROOT, "muster", "old_", glue).switch(POINTER)
        said.assert_no_pending_responses()


def test_a_partition_that_another_writer_made_meanwhile_is_looked_at_again() -> None:
    glue = client()
    there = {"Partition": {"StorageDescriptor": {"Location": f"{ROOT}/{POINTER.location}/"}}}
    with Stubber(glue) as said:
        said.add_response("get_table", TABLE)
        said.add_client_error("get_partition", "EntityNotFoundException", "none")
        said.add_client_error("create_partition", "AlreadyExistsException", "there")
        said.add_response("get_table", TABLE)
        said.add_response("get_partition", there)
        GlueCatalog(ROOT, "muster", "", glue).switch(POINTER)
        said.assert_no_pending_responses()


def test_a_projecting_table_is_updated_if_it_is_the_version_that_was_read() -> None:
    glue = client()
    parameters = {"projection.generation.values": "2017-04/g000001-b", "own": "kept"}
    table = {"Name": "candidate", "Parameters": parameters, "Retention": 0}
    known_to_glue_alone = {"DatabaseName": "muster", "CatalogId": "1", "VersionId": "7"}
    values = "2017-03/g000002-a,2017-04/g000001-b"
    with Stubber(glue) as said:
        said.add_response("get_table", {"Table": {**table, **known_to_glue_alone}})
        said.add_response(
            "update_table",
            {},
            {
                "DatabaseName": "muster",
                "TableInput": {
                    **table,
                    "Parameters": {**parameters, "projection.generation.values": values},
                },
                "VersionId": "7",
                "SkipArchive": True,
            },
        )
        GlueProjection(ROOT, "muster", "", glue).switch(POINTER)
        said.assert_no_pending_responses()
