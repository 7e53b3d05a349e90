"""Fuzzing guided by coverage (atheris), a process for each target: see scripts/fuzz."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MAX_INPUT = 4096


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Fuzz one target in this process; ends it."""
    import atheris

    with atheris.instrument_imports(include=["worker", "contracts"]):
        from tests.fuzz.targets import TARGETS, seeds

    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", "-print_final_stats=1"]
    limits = ["-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={corpus}/found-"]
    atheris.Setup([sys.argv[0], *options, *limits, str(corpus)], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all (default: 10)")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--in-process", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        name, seconds, corpus = arguments.in_process
        fuzz(name, int(seconds), Path(corpus))
        return 0
    from tests.fuzz.targets import TARGETS

    names = arguments.target or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"{', '.join(unknown)}: no such target; there are {', '.join(TARGETS)}")
    seconds = max(int(arguments.minutes * 60 / len(names)), 1)
    print(f"{'target':<16} {'inputs':>10} {'a second':>9} {'covered':>8} {'kept':>6}  outcome")
    return max(_report(name, seconds) for name in names)


def _report(name: str, seconds: int) -> int:
    """Fuzz a target in a process of its own and print a line; 1 if it found something."""
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    command = [sys.executable, "-m", "tests.fuzz", "--in-process", name, str(seconds), str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    said = done.stderr + done.stdout

    def figure(pattern: str) -> int:
        found = re.findall(pattern, said)
        return int(found[-1]) if found else 0

    inputs = figure(r"number_of_executed_units: (\d+)")
    rate, covered = figure(r"average_exec_per_sec: +(\d+)"), figure(r"cov: (\d+)")
    outcome = "nothing found" if done.returncode == 0 else f"FOUND, see {corpus}"
    kept = len(list(corpus.iterdir()))
    print(f"{name:<16} {inputs:>10} {rate:>9} {covered:>8} {kept:>6}  {outcome}", flush=True)
    if done.returncode == 0:
        shutil.rmtree(corpus)
    else:
        print(said[-3000:])
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
