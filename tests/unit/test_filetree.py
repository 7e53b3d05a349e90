import contextlib
import io
import os
import re
import tarfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.adapters.filetree import DELETED, FileTree, Limits, TooManyFilesError
from worker.adapters.segments import MalformedSegmentError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    return tmp_path


def changes(tree):
    out = io.BytesIO()
    tree.pack(out)
    return out.getvalue()


def copied(folder, *archives):
    tree = FileTree({"workspace": folder / "to"})
    for archive in archives:
        tree.apply(io.BytesIO(archive))
    return {
        str(path.relative_to(folder / "to")): path.read_bytes()
        for path in (folder / "to").rglob("*")
        if path.is_file()
    }


def test_only_what_changed_since_the_mark_is_in_the_archive(folder):
    tree = FileTree({"workspace": folder / "from"})
    (folder / "from" / "kept.bin").write_bytes(os.urandom(100_000))
    (folder / "from" / "gone").write_text("x")
    first = tree.everything()
    tree.mark()
    (folder / "from" / "gone").unlink()
    (folder / "from" / "sub").mkdir()
    (folder / "from" / "sub" / "new").write_text("new")
    second = changes(tree)
    assert len(second) < 1000 < len(first)
    assert copied(folder, first, second).keys() == {"kept.bin", "sub/new"}


def test_archives_that_were_concatenated_apply_in_order(folder):
    tree = FileTree({"workspace": folder / "from"})
    archives = b""
    for text in ("one", "two", "three"):
        (folder / "from" / "a").write_text(text)
        (folder / "from" / text).write_text(text)
        archives += changes(tree)
        tree.mark()
    (folder / "from" / "one").unlink()
    archives += changes(tree)
    assert copied(folder, archives) == {"a": b"three", "two": b"two", "three": b"three"}


def test_nothing_changed_is_nothing_to_store(folder):
    tree = FileTree({"workspace": folder / "from"})
    tree.mark()
    assert changes(tree) == b""


def test_a_file_that_was_replaced_by_one_of_the_same_size_is_noticed(folder):
    path = folder / "from" / "a"
    path.write_text("one")
    tree = FileTree({"workspace": folder / "from"})
    tree.mark()
    os.utime(path, ns=(1, 1))
    tree.mark()
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert copied(folder, changes(tree)) == {"a": b"two"}


def test_links_devices_and_special_modes_are_left_behind(folder):
    source = folder / "from"
    (source / "real").write_text("x")
    (source / "real").chmod(0o4755)
    (source / "link").symlink_to("/etc/passwd")
    (source / "loop").symlink_to(source)
    os.mkfifo(source / "pipe")
    archive = FileTree({"workspace": source}).everything()
    assert copied(folder, archive) == {"real": b"x"}
    assert (folder / "to" / "real").stat().st_mode & 0o7777 == 0o700


def test_a_sparse_file_counts_as_large_as_it_says(folder):
    with (folder / "from" / "sparse").open("wb") as out:
        out.truncate(10**12)
    with pytest.raises(TooManyFilesError, match="bytes"):
        FileTree({"workspace": folder / "from"}).everything()


def test_too_many_files_are_refused_before_they_are_read(folder):
    for n in range(11):
        (folder / "from" / str(n)).touch()
    with pytest.raises(TooManyFilesError, match="10 files"):
        FileTree({"workspace": folder / "from"}, Limits(files=10)).everything()


def packed(*members):
    """An archive that this code would not write."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return zstandard.compress(out.getvalue())


@pytest.mark.parametrize(
    "name",
    [
        "/etc/cron.d/x",
        "workspace/../../x",
        "../x",
        "workspace/",
        "workspace",
        "elsewhere/x",
        "workspace/a/../../../x",
    ],
)
def test_a_name_that_leaves_its_root_is_refused(folder, name):
    with pytest.raises(MalformedSegmentError):
        copied(folder, packed((name, tarfile.REGTYPE, b"x")))
    assert not list(folder.glob("x"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_anything_but_a_regular_file_is_refused(folder, kind):
    with pytest.raises(MalformedSegmentError):
        copied(folder, packed(("workspace/x", kind, b"")))


def test_a_deletion_cannot_leave_its_root(folder):
    (folder / "precious").write_text("x")
    with pytest.raises(MalformedSegmentError):
        copied(folder, packed((DELETED, tarfile.REGTYPE, b'["workspace/../../precious"]')))
    assert (folder / "precious").exists()


def test_a_link_in_the_way_is_not_followed(folder):
    (folder / "to" / "sub").symlink_to(folder)
    with pytest.raises(MalformedSegmentError):
        copied(folder, packed(("workspace/sub/escaped", tarfile.REGTYPE, b"x")))
    assert not (folder / "escaped").exists()


@settings(max_examples=50)
@given(st.binary(max_size=300), st.booleans())
def test_bytes_that_are_no_archive_are_refused_and_nothing_else_happens(
    tmp_path_factory, data, compressed
):
    tree = FileTree({"workspace": tmp_path_factory.mktemp("to")})
    with contextlib.suppress(MalformedSegmentError):
        tree.apply(io.BytesIO(zstandard.compress(data) if compressed else data))


names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in {".", ".."} and len(name.encode("utf-8", "surrogatepass")) < 200
)


@settings(max_examples=25)  # each example writes files
@given(st.dictionaries(names, st.binary(max_size=200), max_size=6))
def test_any_names_and_contents_come_back(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("tree")
    for part in ("from", "to"):
        (folder / part).mkdir()
    kept = {}
    for name, content in files.items():
        try:
            (folder / "from" / name).write_bytes(content)
        except UnicodeEncodeError:
            continue
        if not re.search(r"[\x00-\x1f\x7f-\x9f]", name):
            kept[name] = content
    archive = FileTree({"workspace": folder / "from"}).everything()
    assert bool(archive) == bool(kept)
    assert (copied(folder, archive) if archive else {}) == kept
