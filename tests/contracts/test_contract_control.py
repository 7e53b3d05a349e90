"""The control record, as those who write it and the worker that reads it agree on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.addressing import JOB_ID_PATTERN
from contracts.control import (
    CONTROL_SECONDS,
    CancelRequest,
    cancel_item,
    cancel_request,
    control_key,
)

NOW = 1_800_000_000.25

job_ids = st.from_regex(JOB_ID_PATTERN, fullmatch=True)


@given(job_ids, st.none() | st.text(min_size=1, max_size=200))
def test_what_is_asked_is_what_is_read(job_id, by):
    item = cancel_item(job_id, NOW, by)
    assert cancel_request(item, NOW) == CancelRequest(NOW, by)
    assert {"job_id": item["job_id"]} == control_key(job_id)


def test_the_row_is_what_the_documentation_says():
    assert cancel_item("j-1", NOW, "ada") == {
        "job_id": {"S": "control#j-1"},
        "action": {"S": "cancel"},
        "requested_at": {"N": "1800000000.250"},
        "expires_at": {"N": "1801296000"},
        "requested_by": {"S": "ada"},
    }


@given(job_ids, job_ids)
def test_no_control_row_has_the_key_of_a_job(job_id, other):
    assert control_key(job_id)["job_id"]["S"] != other


def test_no_row_and_one_that_has_expired_ask_for_nothing():
    assert cancel_request(None, NOW) is None
    assert cancel_request({}, NOW) is None
    assert cancel_request(cancel_item("j-1", NOW), NOW + CONTROL_SECONDS) is None


def test_an_action_of_a_later_version_is_not_a_cancel():
    assert cancel_request({**cancel_item("j-1", NOW), "action": {"S": "steer"}}, NOW) is None


@pytest.mark.parametrize("job_id", ["", "a b", "control#j-1", "x" * 101])
def test_what_is_no_job_id_is_refused(job_id):
    with pytest.raises(ValueError, match="no job id"):
        cancel_item(job_id, NOW)


def test_a_long_name_is_cut():
    assert cancel_request(cancel_item("j-1", NOW, "x" * 999), NOW).requested_by == "x" * 200
