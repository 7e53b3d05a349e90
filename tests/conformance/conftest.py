import pytest

from tests.conformance.stores import MemoryStore, S3Store
from worker.adapters.aws import Aws


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.integration)])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    resources = request.getfixturevalue("resources")
    aws = Aws(threads=16)
    request.addfinalizer(aws.close)
    return S3Store(aws, resources["SESSION_BUCKET"], tmp_path / "work")


@pytest.fixture
def s3_store(request, tmp_path, resources):
    aws = Aws(threads=16)
    request.addfinalizer(aws.close)
    return S3Store(aws, resources["SESSION_BUCKET"], tmp_path / "work")
