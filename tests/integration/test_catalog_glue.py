"""Tables as the printed statements make them, through Athena's and Glue's own interfaces.

The server runs Athena's queries over all files below a table's location: partitions it keeps, but
does not look at, and it projects none. So a generation is read here by a table whose location is
what Glue says of the partition; that Athena follows partitions and projections to these locations
could not be tried. Nor could ``ALTER TABLE``, which that server does not know; Spark runs it in
``test_catalog_hive``. UpdatePartition is not there, but BatchUpdatePartition, which takes the same.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.athena import athena
from pipelines.catalogs.catalog import Catalog, Pointer
from pipelines.catalogs.glue import GlueCatalog, GlueProjection
from pipelines.errors import CatalogFailed
from pipelines.storage import Storage
from schemas.athena import TEMPLATE, VALUES, create_table
from schemas.registry import record_type, record_types
from tests.integration.aws_servers import Ministack, running_ministack
from tests.integration.merged_lake import Generation, write_generation

pytestmark = pytest.mark.integration

BUCKET, DATABASE = "merged-lake", "muster"
ROOT, RESULTS = f"s3://{BUCKET}/lake", f"s3://{BUCKET}/results/"
MARCH, APRIL = "2017-03", "2017-04"
TYPE = "registration"


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with running_ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


class Glue:
    """A client whose UpdatePartition asks what the server has in its place."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_partition(self, **asked: Any) -> None:
        entry = {name: asked.pop(name) for name in ("PartitionValueList", "PartitionInput")}
        assert self._client.batch_update_partition(**asked, Entries=[entry])["Errors"] == []


class Lake:
    """Generations in the server's S3, and the tables of one prefix over them."""

    def __init__(self, server: Ministack, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.glue, self.s3 = Glue(server.client("glue")), server.client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.glue.create_database(DatabaseInput={"Name": DATABASE})
        self.made = 0

    def write(self, month: str, number: int, rows: int) -> Generation:
        storage = Storage(str(self.folder))
        made = write_generation(storage, record_type(TYPE), month, number, rows)
        for key in made.pointer.files:
            self.s3.put_object(Bucket=BUCKET, Key=f"lake/{key}", Body=storage.read(key))
        return made

    def run(self, query: str) -> list[list[str | None]]:
        return self.server.athena(query, DATABASE, RESULTS)

    def create(self, prefix: str, *more: str, name: str = TYPE) -> str:
        """Run the printed statement of a table and return the table's name."""
        environment = self.folder / "environment.yaml"
        environment.write_text(
            f"name: aws\nwarehouse: {{url: 'duckdb://'}}\nlake: {{root: '{ROOT}'}}\nstore: null\n"
            f"catalog: {{kind: glue, database: {DATABASE}, tablePrefix: {prefix}}}\n"
        )
        asked = ["ddl", "--type", name, "--env", str(environment), "--json", *more]
        result = CliRunner().invoke(athena, asked)
        assert result.exit_code == 0, result.output
        told = json.loads(result.output)
        assert told["database"] == DATABASE
        (statement,) = told["statements"]
        self.run(statement)
        return str(told["table"])

    def table(self, name: str) -> dict[str, Any]:
        found = self.glue.get_table(DatabaseName=DATABASE, Name=name)["Table"]
        assert isinstance(found, dict)
        return found

    def partition(self, table: str, month: str = MARCH) -> dict[str, Any]:
        found = self.glue.get_partition(
            DatabaseName=DATABASE, TableName=table, PartitionValues=[month]
        )["Partition"]
        assert isinstance(found, dict)
        return found

    def sums(self, location: str) -> tuple[int, int, float]:
        """Return what Athena counts and adds up of the files below a location."""
        self.made += 1
        name = f"looks_{self.made}"
        self.run(create_table(record_type(TYPE), location, database=DATABASE, table=name))
        ((count, quantity, value),) = self.run(
            f"SELECT count(*), sum(quantity), sum(ordervalue) FROM {name}"
        )
        assert count is not None
        assert quantity is not None
        assert value is not None
        return int(count), int(quantity), float(value)


def sums(generation: Generation) -> tuple[int, int, float]:
    rows = generation.rows
    quantities = sum(row["quantity"] for row in rows)
    return len(rows), quantities, sum(row["ordervalue"] for row in rows)


@pytest.fixture(scope="module")
def lake(ministack: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(ministack, tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def written(lake: Lake) -> tuple[Generation, Generation, Generation]:
    return lake.write(MARCH, 1, 20), lake.write(APRIL, 1, 7), lake.write(MARCH, 2, 11)


@pytest.mark.parametrize("name", [record.name for record in record_types()])
def test_athena_makes_the_table_of_every_registered_type(lake: Lake, name: str) -> None:
    table = lake.table(lake.create("ddl_", name=name))
    storage = table["StorageDescriptor"]
    schema = json.loads(storage["SerdeInfo"]["Parameters"]["avro.schema.literal"])
    assert schema == record_type(name).schema
    assert [column["Name"] for column in storage["Columns"]] == [
        field["name"].lower() for field in schema["fields"]
    ]
    assert storage["Location"].rstrip("/") == f"{ROOT}/merged/{name}"
    assert table["PartitionKeys"] == [{"Name": "month", "Type": "string"}]
    lake.create("ddl_", name=name)  # is there already, which is no fault


def test_a_switch_is_one_change_of_the_partitions_location(
    lake: Lake, written: tuple[Generation, Generation, Generation]
) -> None:
    march, april, later = written
    table = lake.create("switch_")
    catalog = GlueCatalog(ROOT, DATABASE, "switch_", lake.glue)
    assert catalog.current(TYPE, MARCH) is None

    catalog.switch(march.pointer)
    catalog.switch(april.pointer)
    before = lake.partition(table)
    assert before["StorageDescriptor"]["Location"] == f"{ROOT}/{march.pointer.location}/"
    assert lake.sums(before["StorageDescriptor"]["Location"]) == sums(march)

    catalog.switch(later.pointer)
    after = lake.partition(table)
    assert lake.sums(after["StorageDescriptor"]["Location"]) == sums(later)
    assert after["Parameters"] == {"muster.generation": "2"}
    assert catalog.current(TYPE, MARCH) == later.pointer.location
    assert catalog.current(TYPE, APRIL) == april.pointer.location
    # All but the location is the table's own.
    expected = lake.table(table)["StorageDescriptor"]
    assert {**after["StorageDescriptor"], "Location": ""} == {**expected, "Location": ""}


def test_the_values_of_a_generation_are_those_that_were_written(
    lake: Lake, written: tuple[Generation, Generation, Generation]
) -> None:
    table = lake.create("rows_")
    assert int(lake.run(f"SELECT count(*) FROM {table}")[0][0] or 0) == 38
    location = f"{ROOT}/{written[2].pointer.location}"
    lake.run(create_table(record_type(TYPE), location, database=DATABASE, table="rows_of_one"))
    seen = lake.run("SELECT customerid, email, quantity FROM rows_of_one ORDER BY quantity")
    expected = sorted(written[2].rows, key=lambda row: row["quantity"])
    assert seen == [[r["customerid"], r["email"], str(r["quantity"])] for r in expected]


def pointer(generation: int, month: str = MARCH, digest: str = "a") -> Pointer:
    location = f"merged/{TYPE}/{month}/g{generation:06d}-{digest}"
    return Pointer(TYPE, month, generation, location, ())


@pytest.mark.parametrize(("kind", "more"), [(GlueCatalog, ()), (GlueProjection, ("--projection",))])
def test_a_switch_can_be_done_again_and_never_goes_back(
    lake: Lake, kind: type[GlueCatalog] | type[GlueProjection], more: tuple[str, ...]
) -> None:
    prefix = f"again_{kind.__name__.lower()}_"
    catalog: Catalog = kind(ROOT, DATABASE, prefix, lake.glue)
    table = lake.create(prefix, *more)
    catalog.switch(pointer(3))
    catalog.switch(pointer(1, APRIL))
    version = lake.table(table)["VersionId"]
    for each in (pointer(3), pointer(2)):
        catalog.switch(each)
        assert catalog.current(TYPE, MARCH) == pointer(3).location
    with pytest.raises(CatalogFailed, match=r"generation 3 of .* expected '.*-b', found '.*-a'"):
        catalog.switch(pointer(3, digest="b"))
    assert lake.table(table)["VersionId"] == version
    assert catalog.current(TYPE, APRIL) == pointer(1, APRIL).location


@pytest.mark.parametrize("kind", [GlueCatalog, GlueProjection])
def test_a_table_that_is_not_there_is_to_be_made_first(
    lake: Lake, kind: type[GlueCatalog] | type[GlueProjection]
) -> None:
    catalog = kind(ROOT, DATABASE, "nothing_", lake.glue)
    expected = rf"table muster\.nothing_{TYPE}: not there; .*`muster athena ddl --type {TYPE}`"
    with pytest.raises(CatalogFailed, match=expected) as caught:
        catalog.switch(pointer(1))
    assert not caught.value.transient


def test_a_partition_of_another_lake_is_left_alone(lake: Lake) -> None:
    table = lake.create("moved_")
    GlueCatalog("s3://elsewhere/lake", DATABASE, "moved_", lake.glue).switch(pointer(1))
    catalog = GlueCatalog(ROOT, DATABASE, "moved_", lake.glue)
    with pytest.raises(CatalogFailed, match="found 's3://elsewhere/lake/merged/"):
        catalog.switch(pointer(2))
    location = lake.partition(table)["StorageDescriptor"]["Location"]
    assert location == f"s3://elsewhere/lake/{pointer(1).location}/"


def test_a_projecting_table_has_one_pointer_for_all_months(lake: Lake) -> None:
    table = lake.create("project_", "--projection")
    parameters = lake.table(table)["Parameters"]
    assert parameters[TEMPLATE] == f"{ROOT}/merged/{TYPE}/${{generation}}/"
    assert parameters[VALUES] == "none"
    catalog = GlueProjection(ROOT, DATABASE, "project_", lake.glue)
    assert catalog.current(TYPE, MARCH) is None
    for each in (pointer(1, APRIL), pointer(1), pointer(2)):
        catalog.switch(each)
    switched = lake.table(table)
    values = "2017-03/g000002-a,2017-04/g000001-a"
    assert switched["Parameters"] == {**parameters, VALUES: values}
    assert switched["PartitionKeys"] == [{"Name": "generation", "Type": "string"}]
    assert switched["TableType"] == "EXTERNAL_TABLE"


def test_writers_of_a_projecting_table_do_not_undo_each_others_switches(lake: Lake) -> None:
    table = lake.create("race_", "--projection")
    months = [f"20{year}-{month:02d}" for year in (15, 16) for month in range(1, 9)]
    failed: list[Exception] = []
    start = threading.Barrier(4)

    def write(own: list[str]) -> None:
        catalog = GlueProjection(ROOT, DATABASE, "race_", lake.server.client("glue"))
        start.wait()
        try:
            for month in own:
                catalog.switch(pointer(1, month))
        except CatalogFailed as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(months[at::4],)) for at in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    assert lake.table(table)["Parameters"][VALUES] == ",".join(f"{m}/g000001-a" for m in months)


def test_a_table_without_projection_is_not_switched_by_its_properties(lake: Lake) -> None:
    lake.create("plain_")
    catalog = GlueProjection(ROOT, DATABASE, "plain_", lake.glue)
    with pytest.raises(CatalogFailed, match=r"projection\.generation\.values, found none; make"):
        catalog.switch(pointer(1))


def test_the_clients_endpoint_is_that_of_the_environment(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.create("env_")
    settings = {
        "AWS_ENDPOINT_URL_GLUE": lake.server.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    catalog = GlueCatalog(ROOT, DATABASE, "env_")
    catalog.switch(pointer(1))
    assert catalog.current(TYPE, MARCH) == pointer(1).location
