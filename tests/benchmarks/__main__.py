"""`scripts/bench`: what does a turn cost, beside the bare SDK and other ways to run it?"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks import cost, fresh, memory, rows
from tests.benchmarks.goals import goals
from tests.benchmarks.imports import import_table
from tests.benchmarks.profile import profile
from tests.benchmarks.report import Report
from tests.benchmarks.stage import stage
from tests.benchmarks.tables import tables

ROWS = ("turns", "length", "throughput", "start", "memory", "cost", "many")
QUICK = ("turns", "length", "throughput", "start", "memory", "cost")


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "rows", nargs="*", metavar="ROWS", help=f"of {', '.join(ROWS)}; default: all but many"
    )
    parser.add_argument(
        "--latency", type=int, default=20, help="ms per AWS request, cloud-like rows"
    )
    parser.add_argument("--repeats", type=int, default=20, help="samples of a row")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of the row `many`")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument(
        "--markdown", action="store_true", help="print the tables of docs/performance.md"
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="DIR",
        help="write there where the time goes: of a busy host by function (as root: a host is "
        "closed to others), of a start by package",
    )
    given = parser.parse_args()
    wanted = given.rows or QUICK
    if unknown := set(wanted) - set(ROWS):
        parser.error(f"unknown rows: {', '.join(sorted(unknown))}; choose from {', '.join(ROWS)}")
    folder, report = Path(tempfile.mkdtemp(prefix="bench-")), Report()
    try:
        with stage(folder, given.latency) as set_up:
            asyncio.run(_measure(set_up, wanted, given, report))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    reached = goals(report, given.latency)
    data = report.as_json(reached)
    if given.markdown:
        sys.stdout.write(tables(data))
    else:
        report.show(reached)
    if told := cost.tables(data):
        sys.stdout.write("\n".join(("", told, "", *cost.prices(), "")))
    if given.out:
        given.out.write_text(json.dumps(data, indent=1) + "\n")
    return 0


async def _measure(set_up, wanted, given, report):
    profiled = partial(profile, given.profile)
    for name in wanted:
        sys.stderr.write(f"measuring: {name}\n")
        match name:
            case "turns":
                await rows.warm_and_cold(set_up, given.repeats, report)
                await rows.new_chats(set_up, given.repeats // 2, report)
            case "length":
                await rows.by_length(set_up, max(given.repeats // 3, 3), report)
            case "throughput":
                await rows.throughput(set_up, report, profiled)
            case "start":
                await fresh.starts(set_up, max(given.repeats // 3, 3), report)
                if given.profile:
                    given.profile.mkdir(parents=True, exist_ok=True)
                    table = import_table(set_up.environ())
                    (given.profile / "start-imports.md").write_text(table)
            case "memory":
                await memory.restore_memory(set_up, report)
            case "cost":
                await cost.rows(set_up, max(given.repeats // 2, 5), report)
            case "many":
                await memory.many_jobs(set_up, report, given.jobs)


if __name__ == "__main__":
    sys.exit(main())
