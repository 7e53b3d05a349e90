"""An archive comes back as it was written, or is refused: whatever happened to the file."""

import contextlib
import io
import json
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.operations.archive import Archive, ArchiveError, read_archive, write_archive

ARCHIVE = Archive(
    session_key="default/1",
    session_id="c518754e-6ad9-5f6e-a6bc-6227742427d4",
    lines=(b"first" * 100, b"second"),
    files=(b"\x00\x01" * 300,),
    turns=3,
    cost_usd=0.25,
    exported_at="2026-11-24T20:00:00+00:00",
)

folders = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(archive=ARCHIVE):
    out = io.BytesIO()
    write_archive(archive, out)
    return out.getvalue()


def read(tmp_path, data):
    path = tmp_path / "archive.tar"
    path.write_bytes(data)
    return read_archive(path)


@folders
@given(
    lines=st.lists(st.binary(max_size=2000), max_size=4),
    files=st.lists(st.binary(max_size=2000), max_size=4),
)
def test_what_was_written_is_read(tmp_path, lines, files):
    archive = Archive("acme/1:2", ARCHIVE.session_id, tuple(lines), tuple(files), 1, 0.5, "now")
    assert read(tmp_path, written(archive)) == archive


@folders
@given(st.integers(0, len(written()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_does_not_matter(tmp_path, place, change):
    data = bytearray(written())
    data[place] ^= change
    with contextlib.suppress(ArchiveError):
        assert read(tmp_path, bytes(data)) == ARCHIVE


@folders
@given(st.integers(0, len(written()) - 1))
def test_a_file_that_was_cut_short_is_refused_unless_only_padding_is_gone(tmp_path, end):
    with contextlib.suppress(ArchiveError):
        assert read(tmp_path, written()[:end]) == ARCHIVE


def test_content_of_another_hash_is_named(tmp_path):
    data = written().replace(b"second", b"sEcond")
    with pytest.raises(ArchiveError, match=r"lines/1\.zst is damaged"):
        read(tmp_path, data)


def repacked(change):
    """The archive with a manifest that was edited by hand."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(written())) as old,
        tarfile.open(fileobj=out, mode="w") as new,
    ):
        for member in old:
            data = old.extractfile(member).read()
            if member.name == "manifest.json":
                data = json.dumps(change(json.loads(data))).encode()
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return out.getvalue()


def test_a_manifest_that_was_edited_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="digest"):
        read(tmp_path, repacked(lambda manifest: manifest | {"session_key": "other/1"}))


def test_a_later_version_says_so(tmp_path):
    with pytest.raises(ArchiveError, match="version 2"):
        read(tmp_path, repacked(lambda manifest: manifest | {"version": 2}))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip", b"\x00" * 10240])
def test_what_is_no_archive_is_refused(tmp_path, data):
    with pytest.raises(ArchiveError):
        read(tmp_path, data)


def test_a_file_that_is_not_there_is_a_plain_error(tmp_path):
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_archive(tmp_path / "nothing")
