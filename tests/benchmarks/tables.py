"""The tables of docs/performance.md, from a bench's JSON: `scripts/bench tables RESULTS.json`."""

import json
import re
import sys
from pathlib import Path

BY_LENGTH = re.compile(r"(.+), (\d+) turns, \+(\d+) ms")
LOCAL = re.compile(r"bare, query\(resume\), (\d+) turns")
RATE = ", jobs/s"


def tables(data):
    """All of them, as Markdown: tables with an empty line between two."""
    made = (_turns(data), _lengths(data), _rates(data), _requests(data), _goals(data))
    return "\n\n".join("\n".join(lines) for lines in made if lines) + "\n"


def _table(head, rows):
    """Lines; none without rows."""
    rows = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return rows and [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows]


def _turns(data):
    rows = [
        (
            row,
            f"{told['median']:.3f}",
            f"{told['low']:.3f} to {told['high']:.3f}",
            _total(data, row),
        )
        for row, told in data["rows"].items()
        if not (BY_LENGTH.fullmatch(row) or LOCAL.fullmatch(row) or row.endswith(RATE))
        and not row.startswith("cost:")
    ]
    return _table(("row", "seconds, median", "low to high", "AWS requests"), rows)


def _total(data, row):
    requests = data["requests_per_job"].get(row)
    return f"{sum(requests.values()):.1f}" if requests else "-"


def _lengths(data):
    found, delay = {}, ""
    for row, told in data["rows"].items():
        if match := BY_LENGTH.fullmatch(row):
            delay = f"+{match[3]} ms a request, prior turns"
            found.setdefault(match[1], {})[int(match[2])] = (told["median"], _s3(data, row))
        elif match := LOCAL.fullmatch(row):
            name = "bare, query(resume), a local file"
            found.setdefault(name, {})[int(match[1])] = (told["median"], None)
    lengths = sorted({length for points in found.values() for length in points})
    rows = []
    for name, points in found.items():
        seconds = [f"{points[length][0]:.2f}" for length in lengths]
        s3 = points[lengths[-1]][1]
        rows.append((name, *seconds, "-" if s3 is None else f"{s3:,.1f}"))
    head = (delay, *(f"{length:,}" for length in lengths), f"S3 requests at {lengths[-1:][0]:,}")
    return _table(head, rows) if rows else []


def _s3(data, row):
    requests = data["requests_per_job"].get(row, {})
    return sum(number for name, number in requests.items() if name.startswith("s3."))


def _rates(data):
    rows = []
    for row, told in data["rows"].items():
        if row.endswith(RATE):
            cpu = data.get("cpu_ms_per_job", {}).get(row, {})
            parts = ", ".join(f"{kind} {ms:.0f}" for kind, ms in cpu.items() if ms >= 1)
            rows.append((row.removesuffix(RATE), f"{told['median']:.1f}", parts or "-"))
    return _table(("throughput", "jobs/s", "CPU ms a job, by process"), rows)


def _requests(data):
    named = data["requests_per_job"].get("ours, warm", {})
    rows = [(name, f"{number:.1f}") for name, number in named.items()]
    return _table(("AWS request", "per warm job"), rows)


def _goals(data):
    rows = [
        (goal["what"], goal["limit"], goal["measured"], "met" if goal["met"] else "missed")
        for goal in data.get("goals", [])
    ]
    return _table(("what", "goal", "measured", ""), rows)


if __name__ == "__main__":
    sys.stdout.write(tables(json.loads(Path(sys.argv[1]).read_text())))
