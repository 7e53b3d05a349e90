"""The environment file."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.environment_file import (
    environment_name,
    read_environment_file,
    remove_environment_file,
    write_environment_file,
)
from worker.local.errors import LocalStackError

ENVIRONMENT = {"QUEUE_URL": "http://127.0.0.1:1/q.fifo", "WORK_DIR": "/a folder/it's $HOME"}


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("QueueUrl", "QUEUE_URL"),
        ("DlqUrl", "DLQ_URL"),
        ("ResultTopicArn", "RESULT_TOPIC_ARN"),
        ("EventBusName", "EVENT_BUS_NAME"),
    ],
)
def test_an_output_is_named_like_its_setting(output, name):
    assert environment_name(output) == name


@given(st.dictionaries(st.from_regex("[A-Z_]{1,8}", fullmatch=True), st.text(" -~", max_size=30)))
def test_what_is_written_is_read(tmp_path_factory, environment):
    path = tmp_path_factory.mktemp("env") / "worker.env"
    write_environment_file(path, environment)
    assert read_environment_file(path) == environment


def test_a_shell_can_source_it(tmp_path):
    path = tmp_path / "worker.env"
    write_environment_file(path, ENVIRONMENT)
    script = f'. {path}; printf "%s\\n" "$QUEUE_URL" "$WORK_DIR"'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == list(ENVIRONMENT.values())


def test_it_is_private(tmp_path):
    path = tmp_path / "new" / "worker.env"
    write_environment_file(path, ENVIRONMENT)
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_written_anew(tmp_path):
    path = tmp_path / "worker.env"
    write_environment_file(path, ENVIRONMENT)
    write_environment_file(path, {"A": "1"})
    assert read_environment_file(path) == {"A": "1"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_somebody_else_wrote_is_kept(tmp_path):
    path = tmp_path / ".env"
    path.write_text("MINE=1\n")
    with pytest.raises(LocalStackError, match="was not written by this command"):
        write_environment_file(path, ENVIRONMENT)
    remove_environment_file(path)
    assert path.read_text() == "MINE=1\n"
