"""What a chat leaves in its files: neither into the next turn nor out of its directory.

A defence is switched off by replacing the function that holds it; then the attack succeeds.
"""

import io
import os
import subprocess
import tarfile
import threading

import pytest
import zstandard

from tests.security.conftest import long
from worker.adapters import filetree, removal
from worker.adapters.filetree import FileTree, Limits, TooManyFilesError
from worker.adapters.removal import remove_tree
from worker.adapters.segments import MalformedSegmentError


@pytest.fixture
def chat(tmp_path):
    """A workspace, and beside it what is not the chat's."""
    for name in ("workspace", "restored", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "secret").write_text("the-secret")
    return tmp_path


def carried(chat, limits=None):
    """The workspace as the next turn would find it, wherever that runs."""
    archive = FileTree({"workspace": chat / "workspace"}, limits).everything()
    if archive:
        FileTree({"workspace": chat / "restored"}).apply(io.BytesIO(archive))
    return {
        str(path.relative_to(chat / "restored")): path
        for path in (chat / "restored").rglob("*")
        if not path.is_dir()
    }


def unchecked_open(root, path):
    return os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW)


@pytest.mark.parametrize("defended", [True, False])
def test_a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere(chat, defended, monkeypatch):
    """A tool swaps it between the listing and the reading: a worker that is root would read for it
    what it cannot read itself."""
    if not defended:
        monkeypatch.setattr(filetree, "_opened_beneath", unchecked_open)
    folder = chat / "workspace" / "docs"
    folder.mkdir()
    (folder / "secret").write_text("harmless")
    tree = FileTree({"workspace": chat / "workspace"})
    listed = tree._stamps

    def swapped():
        stamps = listed()
        folder.rename(chat / "workspace" / "aside")
        folder.symlink_to(chat / "outside")
        return stamps

    tree._stamps = swapped
    archive = tree.everything()
    FileTree({"workspace": chat / "restored"}).apply(io.BytesIO(archive))
    stolen = chat / "restored" / "docs" / "secret"
    assert (stolen.exists() and stolen.read_text() == "the-secret") is not defended


@pytest.mark.parametrize("defended", [True, False])
def test_a_file_that_becomes_a_pipe_while_it_is_read_does_not_hold_the_worker(
    chat, defended, monkeypatch
):
    if not defended:
        monkeypatch.setattr(filetree, "_opened_beneath", unchecked_open)
    path = chat / "workspace" / "data"
    path.write_text("harmless")
    tree = FileTree({"workspace": chat / "workspace"})
    listed = tree._stamps

    def swapped():
        stamps = listed()
        path.unlink()
        os.mkfifo(path)
        return stamps

    tree._stamps = swapped
    reading = threading.Thread(target=tree.everything, daemon=True)
    reading.start()
    reading.join(1)
    held = reading.is_alive()
    if held:  # let it go
        path.open("wb").close()
        reading.join(10)
    assert held is not defended
    assert not reading.is_alive()


class Unguarded(FileTree):
    """Keeps whatever is there, as plain tar does: links, devices, pipes, modes, any name."""

    def everything(self):
        out = io.BytesIO()
        with (
            zstandard.ZstdCompressor().stream_writer(out, closefd=False) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, folder in self._roots.items():
                archive.add(folder, name)
        return out.getvalue()

    def apply(self, packed):
        with (
            zstandard.ZstdDecompressor().stream_reader(packed) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            for member in archive:
                member.name = member.name.removeprefix("workspace").lstrip("/") or "."
                archive.extract(member, self._roots["workspace"], filter="fully_trusted")


def carried_unguarded(chat):
    archive = Unguarded({"workspace": chat / "workspace"}).everything()
    Unguarded({"workspace": chat / "restored"}).apply(io.BytesIO(archive))
    return {str(path.relative_to(chat / "restored")) for path in (chat / "restored").rglob("*")}


def test_links_become_nothing_or_files_of_their_own(chat):
    workspace = chat / "workspace"
    (workspace / "symbolic").symlink_to(chat / "outside" / "secret")
    (workspace / "folder").symlink_to(chat / "outside")
    os.link(chat / "outside" / "secret", workspace / "hard")
    found = carried(chat)
    assert found.keys() == {"hard"}
    found["hard"].write_text("changed")
    assert (chat / "outside" / "secret").read_text() == "the-secret"


def test_without_the_guard_links_lead_out_of_the_restored_workspace(chat):
    workspace = chat / "workspace"
    (workspace / "symbolic").symlink_to(chat / "outside" / "secret")
    (workspace / "folder").symlink_to(chat / "outside")
    assert carried_unguarded(chat) >= {"symbolic", "folder"}
    (chat / "restored" / "symbolic").write_text("stolen")
    assert (chat / "restored" / "folder" / "secret").read_text() == "stolen"
    assert (chat / "outside" / "secret").read_text() == "stolen"


@pytest.mark.skipif(os.geteuid() != 0, reason="has files of another user")
@pytest.mark.parametrize("defended", [True, False])
def test_a_hard_link_to_what_the_chat_s_user_cannot_read_does_not_travel(
    chat, defended, monkeypatch
):
    """As a tool can make one where fs.protected_hardlinks is off. The worker, as root, could read
    it for the chat's next turn."""
    if not defended:
        monkeypatch.setattr(filetree, "_owner", AnyUser)
    secret, workspace = chat / "outside" / "secret", chat / "workspace"
    secret.chmod(0o600)
    (workspace / "own").write_text("mine")
    for path in (workspace, workspace / "own"):
        os.chown(path, 23_456, 23_456)
    os.link(secret, workspace / "hard")
    found = carried(chat)
    assert found.keys() == ({"own"} if defended else {"own", "hard"})
    if not defended:
        assert found["hard"].read_text() == "the-secret"


class AnyUser:
    """Owns whatever it is compared with."""

    def __init__(self, root):
        pass

    __eq__ = __hash__ = lambda *_: True


@pytest.mark.parametrize("tree", [FileTree, "Unguarded"])
def test_an_archive_with_a_hard_link_out_of_the_workspace_is_refused(chat, tree):
    """Stored by whoever can write to the bucket, or by a worker that was taken over."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        link = tarfile.TarInfo("workspace/hard")
        link.type, link.linkname = tarfile.LNKTYPE, str(chat / "outside" / "secret")
        archive.addfile(link)
    packed = io.BytesIO(zstandard.compress(out.getvalue()))
    if tree is FileTree:
        with pytest.raises(MalformedSegmentError, match="not a regular file"):
            FileTree({"workspace": chat / "restored"}).apply(packed)
        assert not any((chat / "restored").iterdir())
    else:
        Unguarded({"workspace": chat / "restored"}).apply(packed)
        (chat / "restored" / "hard").write_text("changed")
        assert (chat / "outside" / "secret").read_text() == "changed"


def special_files(workspace):
    os.mkfifo(workspace / "pipe")
    if os.geteuid() == 0:
        os.mknod(workspace / "disk", 0o666 | 0o060000, os.makedev(8, 0))
    (workspace / "tool").write_text("#!/bin/sh")
    (workspace / "tool").chmod(0o6777)


def test_devices_sockets_pipes_and_special_modes_do_not_travel(chat):
    special_files(chat / "workspace")
    found = carried(chat)
    assert found.keys() == {"tool"}
    assert found["tool"].stat().st_mode & 0o7777 == 0o700


def test_without_the_guard_devices_pipes_special_modes_and_odd_names_travel(chat):
    special_files(chat / "workspace")
    (chat / "workspace" / "a\nb").write_text("x")
    devices = {"disk"} if os.geteuid() == 0 else set()
    assert carried_unguarded(chat) == {"pipe", "tool", "a\nb"} | devices
    assert (chat / "restored" / "tool").stat().st_mode & 0o7777 == 0o6777


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "\x1b[2J", "a\x7fb", "\x85"])
def test_names_with_control_characters_do_not_travel(chat, name):
    (chat / "workspace" / name).write_text("x")
    (chat / "workspace" / f"{name}-folder").mkdir()
    (chat / "workspace" / f"{name}-folder" / "inner").write_text("x")
    (chat / "workspace" / "good").write_text("x")
    assert carried(chat).keys() == {"good"}


def test_bombs_of_size_and_of_number_are_refused_before_they_are_read(chat):
    with (chat / "workspace" / "sparse").open("wb") as out:
        out.truncate(10**13)
    with pytest.raises(TooManyFilesError, match="bytes"):
        carried(chat)
    (chat / "workspace" / "sparse").unlink()
    for n in range(100_000):
        os.close(os.open(chat / "workspace" / str(n), os.O_CREAT | os.O_WRONLY))
    with pytest.raises(TooManyFilesError, match="10000 files"):
        carried(chat)
    assert not any((chat / "restored").iterdir())


@pytest.mark.parametrize("files", [20_000, pytest.param(100_000, marks=long)])
def test_without_the_limit_all_of_many_tiny_files_travel(chat, files):
    for n in range(files):
        os.close(os.open(chat / "workspace" / str(n), os.O_CREAT | os.O_WRONLY))
    assert len(carried(chat, Limits(files=files))) == files


def test_without_the_limit_a_sparse_bomb_would_be_read_in_full(chat):
    """Its cap: 64 MiB, of which nothing is on disk."""
    with (chat / "workspace" / "sparse").open("wb") as out:
        out.truncate(64 * 1024 * 1024)
    with pytest.raises(TooManyFilesError, match="bytes"):
        carried(chat, Limits(size=1024 * 1024))
    carried(chat)
    assert (chat / "restored" / "sparse").stat().st_size == 64 * 1024 * 1024


def test_a_folder_that_became_a_file_is_one_afterwards(chat):
    workspace = chat / "workspace"
    (workspace / "a").mkdir()
    (workspace / "a" / "b").write_text("x")
    tree = FileTree({"workspace": workspace})
    first = tree.everything()
    tree.mark()
    (workspace / "a" / "b").unlink()
    (workspace / "a").rmdir()
    (workspace / "a").write_text("a file now")
    second = io.BytesIO()
    tree.pack(second)
    FileTree({"workspace": chat / "restored"}).apply(io.BytesIO(first + second.getvalue()))
    assert (chat / "restored" / "a").read_text() == "a file now"


CLOSED = "mkdir -p {0}/a/b; echo x > {0}/a/b/c; chmod 0 {0}/a/b; chmod 0 {0}/a"
DEEP = (
    "cd {0}; i=0; while [ $i -lt 60 ]; do mkdir -p d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d; "
    "cd -P d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d; i=$((i+1)); done"
)


@pytest.mark.parametrize(("attack", "user"), [(CLOSED, 23_456), (DEEP, 0)])
@pytest.mark.parametrize("defended", [True, False])
def test_nothing_stays_on_disk_however_it_was_left(attack, user, defended, ground):
    """Folders without permissions (a worker that is not root), and a tree too deep for Python."""
    if os.geteuid() != 0:
        pytest.skip("runs a part of itself as another user")
    left = ground / "chat"
    left.mkdir()
    os.chown(ground, user, user)
    os.chown(left, user, user)
    subprocess.run(["sh", "-c", attack.format(left)], user=user, group=user, check=True)
    outcome = os.fork()
    if outcome == 0:
        os.setgid(user)
        os.setuid(user)
        try:
            if not defended:
                removal.subprocess = None
            remove_tree(left)
        finally:
            os._exit(0)
    os.waitpid(outcome, 0)
    assert left.exists() is not defended
    os.chown(ground, 0, 0)
    remove_tree(left)
    assert not left.exists()
