"""Samples in, table and JSON out."""

import os
import platform
import statistics
import time
from collections import Counter, defaultdict

from rich.console import Console
from rich.table import Table


class Report:
    def __init__(self):
        self.samples = defaultdict(list)
        self.notes = {}
        self._requests = defaultdict(Counter)
        self._bytes = defaultdict(Counter)
        self._received = defaultdict(Counter)
        self._jobs = Counter()
        self._cpu = {}
        self._load = round(os.getloadavg()[1], 1)

    def add(self, row, seconds):
        self.samples[row] += seconds

    def note(self, name, what):
        self.notes[name] = what

    def requests(self, row, counts, jobs):
        self._requests[row] += counts.number
        self._bytes[row] += counts.bytes
        self._received[row] += counts.received
        self._jobs[row] += jobs

    def cpu(self, row, seconds, jobs):
        """CPU time by kind of process."""
        ms = {kind: round(used / jobs * 1000, 1) for kind, used in seconds.most_common()}
        self._cpu[row] = {kind: used for kind, used in ms.items() if used}

    def median(self, row):
        return statistics.median(self.samples[row])

    def per_job(self, row):
        """Requests a job, by "service.operation"."""
        jobs = self._jobs[row]
        return {".".join(name): n / jobs for name, n in sorted(self._requests[row].items())}

    def service(self, row, service):
        found = self.per_job(row)
        return sum(n for name, n in found.items() if name.startswith(f"{service}."))

    def total(self, row, *, without=()):
        return sum(n for name, n in self.per_job(row).items() if name not in without)

    def as_json(self, goals):
        return {
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, "
            f"Python {platform.python_version()}",
            "at": time.strftime("%Y-%m-%d %H:%M"),
            # In the minutes before, and at the end: above the number of cores there was other work.
            "load": [self._load, round(os.getloadavg()[0], 1)],
            "rows": {
                row: {
                    "median": statistics.median(seconds),
                    "low": min(seconds),
                    "high": max(seconds),
                    "samples": [round(second, 5) for second in seconds],
                }
                for row, seconds in self.samples.items()
            },
            "requests_per_job": {row: self.per_job(row) for row in self._requests},
            "bytes_sent_per_job": self._per_job(self._bytes),
            "bytes_received_per_job": self._per_job(self._received),
            "cpu_ms_per_job": self._cpu,
            "notes": self.notes,
            "goals": [vars(goal) for goal in goals],
        }

    def _per_job(self, counted):
        return {
            row: {".".join(name): size / self._jobs[row] for name, size in sorted(counts.items())}
            for row, counts in counted.items()
        }

    def show(self, goals, console=None):
        console = console or Console(width=110)
        table = Table(title="Rows, in seconds unless named otherwise")
        for name in ("row", "median", "low", "high", "n"):
            table.add_column(name, justify="left" if name == "row" else "right")
        for row, seconds in self.samples.items():
            numbers = (statistics.median(seconds), min(seconds), max(seconds))
            table.add_row(row, *(f"{number:.3f}" for number in numbers), str(len(seconds)))
        console.print(table)
        table = Table(title="AWS requests per job")
        table.add_column("row")
        table.add_column("requests")
        for row in self._requests:
            told = ", ".join(f"{name} {n:.2f}" for name, n in self.per_job(row).items())
            table.add_row(row, f"{self.total(row):.1f}: {told}")
        console.print(table)
        for row, used in self._cpu.items():
            told = ", ".join(f"{kind} {ms}" for kind, ms in used.items())
            console.print(f"CPU ms a job, {row.removesuffix(', jobs/s')}: {told}")
        for name, what in self.notes.items():
            console.print(f"{name}: {what}")
        table = Table(title="Goals")
        for name in ("what", "goal", "measured", ""):
            table.add_column(name)
        for goal in goals:
            table.add_row(goal.what, goal.limit, goal.measured, "met" if goal.met else "MISSED")
        console.print(table)
