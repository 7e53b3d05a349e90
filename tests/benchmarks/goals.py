"""What is to be reached, and whether it was, from the rows of one run."""

from dataclasses import dataclass

from tests.benchmarks.memory import KINDS
from tests.benchmarks.rows import LARGE, LENGTHS, SMALL

FLAT = 1.05


@dataclass
class Goal:
    what: str
    limit: str
    measured: str
    met: bool


def goals(report, delay_ms):
    """The goals whose rows were measured."""
    return [goal for make in MAKERS for goal in make(report, delay_ms)]


def _ratio(what, value, most):
    return Goal(what, f"at most {most:g} times", f"{value:.2f} times", value <= most)


def _warm(report, _delay):
    if "ours, warm" not in report.samples:
        return
    warm = report.median("ours, warm")
    yield _ratio(
        "warm turn, message to event, against the bare warm turn",
        warm / report.median("bare, warm client"),
        3.0,
    )
    hand = warm / report.median("hand-made, cold")
    yield Goal("the same against the hand-made way", "under 0.2", f"{hand:.2f}", hand < 0.2)
    yield _ratio(
        "cold resume, message to event, against bare query(resume)",
        report.median("ours, cold") / report.median("bare, query(resume)"),
        1.25,
    )
    requests = report.total("ours, warm")
    told = ", ".join(f"{name} {n:.1f}" for name, n in report.per_job("ours, warm").items())
    yield Goal(
        f"AWS requests per warm job: {told}", "at most 12", f"{requests:.1f}", requests <= 12
    )


def _length(report, delay):
    row = "{}, {} turns, +{} ms"
    if row.format("ours, cold", LARGE, delay) not in report.samples:
        return
    large, small = (report.median(row.format("ours, cold", n, delay)) for n in (LARGE, SMALL))
    yield _ratio(f"turn at {LARGE} prior turns against {SMALL}, cold", large / small, 1.3)
    for length in LENGTHS:
        requests = report.service(row.format("ours, cold", length, delay), "s3")
        yield Goal(
            f"S3 requests per turn, cold, {length} turns",
            "at most 4",
            f"{requests:.1f}",
            requests <= 4,
        )


def _rate(report, _delay):
    if "ours, 8 chats, jobs/s" in report.samples:
        ours = report.median("ours, 8 chats, jobs/s")
        part = ours / report.median("8 bare warm clients, jobs/s")
        yield Goal(
            f"jobs per second, 8 chats ({ours:.1f}), against 8 bare warm clients",
            "at least 0.5",
            f"{part:.2f}",
            part >= 0.5,
        )


def _start(report, _delay):
    if "ours, process start to model request" in report.samples:
        yield _ratio(
            "process start to first model request, against import and bare first turn",
            report.median("ours, process start to model request")
            / report.median("bare, process start to model request"),
            1.1,
        )


def _memory(report, _delay):
    for kind in KINDS:
        name = f"restore of what {kind}: peak against transcript"
        if name in report.notes:
            yield _ratio(
                f"peak memory of a restore against a transcript that {kind}",
                report.notes[name],
                1.5,
            )
    grown = "many, memory of the second half's end against its beginning"
    if grown in report.notes:
        growth = report.notes[grown]
        yield Goal(
            "memory after many jobs against after half of them",
            "flat: at most 1.05 times",
            f"{growth:.3f} times",
            growth <= FLAT,
        )


MAKERS = (_warm, _length, _rate, _start, _memory)
