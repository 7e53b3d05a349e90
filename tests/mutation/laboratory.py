"""Applies mutations in copies of the tree and runs the tests that must notice them."""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.mutation.catalogue import Mutation

ROOT = Path(__file__).parents[2]
COPIED = (
    "contracts",
    "examples",
    "infra",
    "profile",
    "pyproject.toml",
    "requirements",
    "tests",
    "worker",
)
SHARED = (".agent-worker",)
"""What is installed once: the emulator's own environment."""

UNUSED_PLUGINS = ("cacheprovider", "hypothesispytest", "xdist")
"""Without the latter two a run takes half the time."""

LANES = 2
"""Copies of the tree that are worked on side by side."""

HANG_SECONDS = {True: 40, False: 15}
"""A mutation may make a test hang; then the time limit fails it. By `real`."""

RUN_SECONDS = 600.0
"""Against a hang alone: a busy machine takes minutes for the tests of all mutations together."""

_FAILED = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)


class Verdict(Enum):
    """How a mutation ended."""

    KILLED = "killed"
    SURVIVED = "survived"
    STALE = "stale"  # its old text is not in the source once
    BROKEN = "broken"  # the tests could not be run


@dataclass(frozen=True, slots=True)
class Outcome:
    """`detail`: the first failing test of a killed mutation, else what went wrong."""

    mutation: Mutation
    verdict: Verdict
    detail: str


class UnsoundTestsError(Exception):
    """The tests fail without any mutation, so that they would kill all of them."""


def experiment(
    mutations: Sequence[Mutation], on_outcome: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Run every mutation, and first the same tests on the source as it is.

    Raises UnsoundTestsError.
    """
    with lanes(LANES) as copies, ThreadPoolExecutor(LANES) as pool:

        def in_a_lane(work: Callable[[Path], object]) -> object:
            copy = copies.get()
            try:
                return work(copy)
            finally:
                copies.put(copy)

        sound = [pool.submit(in_a_lane, check) for check in _baselines(mutations)]
        for check in sound:
            check.result()

        def one(mutation: Mutation) -> Outcome:
            outcome = in_a_lane(lambda copy: attempt(mutation, copy))
            on_outcome(outcome)
            return outcome

        # The long ones first, so that no lane waits for one at the end.
        ordered = sorted(mutations, key=lambda mutation: not mutation.real)
        done = dict(zip((m.name for m in ordered), pool.map(one, ordered), strict=True))
    return [done[mutation.name] for mutation in mutations]


def attempt(mutation: Mutation, copy: Path) -> Outcome:
    """Apply, test, undo."""
    path = copy / mutation.file
    source = path.read_text()
    found = source.count(mutation.old)
    if found != 1:
        return Outcome(
            mutation, Verdict.STALE, f"its old text occurs {found} times in {mutation.file}"
        )
    path.write_text(source.replace(mutation.old, mutation.new))
    try:
        status, output = run_tests(copy, mutation.tests, real=mutation.real)
    finally:
        path.write_text(source)
    if status == 0:
        return Outcome(mutation, Verdict.SURVIVED, f"all passed: {' '.join(mutation.tests)}")
    failed = _FAILED.search(output)
    if failed is None:
        return Outcome(mutation, Verdict.BROKEN, f"pytest ended with {status}:\n{output[-2000:]}")
    return Outcome(mutation, Verdict.KILLED, failed[1])


def run_tests(copy: Path, tests: Sequence[str], *, real: bool) -> tuple[int, str]:
    """Exit status and output of pytest in a copy, up to the first failure."""
    limit = f"--timeout={HANG_SECONDS[real]}"
    arguments = ["-x", "-q", "-rf", *(f"-pno:{name}" for name in UNUSED_PLUGINS), limit, *tests]
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments, *([] if real else ["-m", "not integration"])],
        cwd=copy,
        env=_environment(copy),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = child.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)  # so that it ends what it has started
        output, _ = child.communicate(timeout=30)
    return child.returncode, output


@contextmanager
def lanes(number: int) -> Iterator["queue.Queue[Path]"]:
    """Copies of the tree, to be taken and put back."""
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        free: queue.Queue[Path] = queue.Queue()
        for lane in range(number):
            copy = Path(folder) / f"lane-{lane}"
            copy.mkdir()
            for name in COPIED:
                source, target = ROOT / name, copy / name
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, target)
            for name in SHARED:
                (copy / name).symlink_to(ROOT / name)
            free.put(copy)
        yield free


def _baselines(mutations: Sequence[Mutation]) -> list[Callable[[Path], None]]:
    """The tests of all mutations on the source as it is: those in memory, and the real ones."""

    def check(copy: Path, tests: list[str], *, real: bool) -> None:
        status, output = run_tests(copy, tests, real=real)
        if status:
            raise UnsoundTestsError(f"without a mutation pytest ends with {status}:\n{output}")

    checks = []
    for real in (True, False):
        tests = sorted({test for m in mutations if m.real is real for test in m.tests})
        # A file covers the tests that are named in it.
        tests = [t for t in tests if "::" not in t or t.partition("::")[0] not in tests]
        if tests:
            checks.append(lambda copy, tests=tests, real=real: check(copy, tests, real=real))
    return checks


def _environment(copy: Path) -> dict[str, str]:
    """The copy comes before the installed package; no bytecode, which could outlive a mutation."""
    kept = {name: item for name, item in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "500"}
