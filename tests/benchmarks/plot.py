"""Turn time and AWS requests by the length of a conversation, from a bench's JSON, as an SVG.

Runs in an environment of its own (requirements/bench.txt): `scripts/bench plot bench.json out.svg`.
"""

import json
import re
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

ROW = re.compile(r"(.+), (\d+) turns, \+(\d+) ms")
COLOURS = {"ours, warm": "#1b7f4d", "ours, cold": "#2a6fbb"}
OTHERS = ("#b5651d", "#a33b3b")


def draw(data, target):
    mpl.rcParams["svg.hashsalt"] = "agent-worker"  # the same bytes for the same numbers
    found = {}
    for row, told in data["rows"].items():
        if match := ROW.fullmatch(row):
            name, length, delay = match[1], int(match[2]), match[3]
            requests = sum(data["requests_per_job"][row].values())
            found.setdefault(name, []).append((length, told["median"], requests))
    figure, (times, requests) = plt.subplots(1, 2, figsize=(9, 3.6))
    others = iter(OTHERS)
    for name, points in found.items():
        lengths, seconds, numbers = zip(*sorted(points), strict=True)
        style = {"marker": "o", "label": name, "color": COLOURS.get(name) or next(others)}
        times.plot(lengths, seconds, **style)
        requests.plot(lengths, numbers, **style)
    titles = (f"seconds a turn, +{delay} ms per AWS request", "AWS requests a turn")
    for axes, title in zip((times, requests), titles, strict=True):
        axes.set(xscale="log", yscale="log", xlabel="prior turns", title=title)
        axes.grid(visible=True, which="major", alpha=0.3)
    times.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
