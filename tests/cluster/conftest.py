"""Three brokers, a database and a whole Septet on them, shared by all tests of this folder."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.engines.cluster import Cluster
from tests.system.septet import Septet, running

SERVER = os.environ["SEPTET_TEST_DATABASE_URL"]  # tests/engines/run.sh gives it
DATABASE = "septet_on_a_cluster"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="septet-cluster-"))
    brokers = Cluster(folder)
    try:
        brokers.start()
        yield brokers
    finally:
        brokers.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def septet(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Septet]:
    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with running(
        tmp_path_factory.mktemp("septet") / "data",
        SEPTET_KAFKA_BOOTSTRAP_SERVERS=cluster.address,
        SEPTET_KAFKA_REPLICATION_FACTOR="3",
        SEPTET_DATABASE_URL=f"{SERVER.rpartition('/')[0]}/{DATABASE}",
    ) as started:
        yield started
