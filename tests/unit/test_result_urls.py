"""The link to a large result: it must also open an object under a KMS key."""

import pytest

from worker.adapters.aws import Aws


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_a_result_s_link_is_signed_with_version_4_which_objects_under_a_kms_key_need(
    region, monkeypatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    client = Aws(region=region).client("s3")
    url = client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
