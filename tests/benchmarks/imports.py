"""What a host imports before it polls, and how long that takes, by package."""

import re
import subprocess
import sys
from collections import Counter

CODE = (
    "import worker.entrypoints.cli.host, worker.bootstrap, worker.entrypoints.host",
    "import worker.adapters.clients",
)
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def import_table(environ, times=5):
    """Milliseconds by package, the least of some runs, as Markdown."""
    lines = ["| imported | package | ms |", "|---|---|---|"]
    before = {}
    for when, code in zip(("before it polls", "by the first request"), CODE, strict=True):
        found = _least([f"{CODE[0]}; {code}"] * times, environ)
        packages = Counter()
        for module, ms in found.items():
            if module not in before:
                packages[_package(module)] += ms
        before |= found
        total = sum(packages.values())
        lines.append(f"| {when} | all | {total:.0f} |")
        lines += [f"| | {name} | {ms:.0f} |" for name, ms in packages.most_common(8)]
    return "\n".join(lines) + "\n"


def _least(codes, environ):
    found = {}
    for code in codes:
        told = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environ,
        ).stderr
        for match in map(LINE.match, told.splitlines()):
            if match:
                ms = int(match[1]) / 1000
                found[match[2]] = min(found.get(match[2], ms), ms)
    return found


def _package(module):
    top = module.partition(".")[0]
    return "Python's own" if top in sys.stdlib_module_names else top
