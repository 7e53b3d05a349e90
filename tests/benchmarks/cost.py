"""What a job costs on AWS: requests and bytes as they were counted, at list prices."""

import math
from dataclasses import dataclass

from tests.benchmarks.history import commit_history, conversation, real_turns
from tests.benchmarks.rows import LARGE, SMALL, asks
from tests.benchmarks.stage import PROJECT, our_host
from worker.bootstrap import build
from worker.domain.policy import Policy

CHUNK = 64 * 1024
"""Bytes that are billed as one request, by SQS, SNS and EventBridge."""

MODEL_SECONDS = 8.0
LAMBDA_GB = 2.0

CANCEL_READS = MODEL_SECONDS / Policy().cancel_poll_seconds
"""While the model thinks, the worker looks whether the job is to be cancelled."""

CASES = tuple((warm, turns) for turns in (SMALL, LARGE) for warm in (True, False))


@dataclass(frozen=True)
class Price:
    """US dollars for a million, us-east-1, without free tiers; `seen`: where, and of when."""

    dollars: float
    what: str
    seen: str


PRICES = {
    "sqs": Price(0.50, "FIFO requests of up to 64 KB", "cloudburn.io, March 2026"),
    "sns": Price(0.50, "publishes of up to 64 KB", "factualminds.com, June 2026"),
    "eventbridge": Price(1.00, "custom events of up to 64 KB", "cloudburn.io, March 2026"),
    "s3 write": Price(5.00, "PUT and LIST requests", "c3x.dev, 2026"),
    "s3 read": Price(0.40, "GET requests", "c3x.dev, 2026"),
    "dynamodb write": Price(0.625, "write request units, on demand", "airbyte.com, July 2025"),
    "dynamodb read": Price(0.125, "read request units, on demand", "airbyte.com, July 2025"),
    "lambda": Price(0.20, "invocations", "git.mcrn.ar, May 2026"),
    "lambda second": Price(13.3334, "GB-seconds, arm64", "git.mcrn.ar, May 2026"),
}


def name_of(warm, turns):
    return f"cost: {'warm' if warm else 'cold'}, {turns} turns"


async def rows(stage, repeats, report):
    """Jobs of a short and of a long chat, by a host that keeps its processes and by one that
    does not. No latency is added: the requests are the same.
    """
    turns = await real_turns(stage)
    worker = build(stage.environ(WARM_CHATS="0"))
    for warm, length in CASES:
        session = f"{length:08d}-0000-4000-8000-{int(warm):012d}"
        told = conversation(turns, session, length)
        await commit_history(worker, f"cost-{warm}-{length}", told, session, PROJECT)
    worker.aws.close()
    dynamodb = stage.client("dynamodb")
    for warm in (True, False):
        async with our_host(stage, **({} if warm else {"WARM_CHATS": "0"})) as counts:
            for length in (SMALL, LARGE):
                chat, name = f"cost-{warm}-{length}", name_of(warm, length)
                await stage.ask("a first one", chat)
                before = counts.copy()
                report.add(name, await asks(stage, repeats, [chat]))
                counted = counts.since(before)
                report.requests(name, counted, repeats)
                written, read = counted.units(dynamodb)
                report.note(f"{name}: write units", written / repeats)
                report.note(f"{name}: read units", read / repeats)
                jobs = counted.writes_of(stage.resources["JOB_TABLE"]) / repeats
                report.note(f"{name}: index units", _index_units(jobs))
                report.note(f"{name}: events", counted.events["eventbridge"] / repeats)


def _index_units(writes):
    """An estimate, from above. Each write of a job's row moves its entry in `unfinished`, a removal
    and an addition, but the first adds and the last removes; the end adds one of up to 1 KB to
    `ended`, the beginning one to `chat`.
    """
    return max(2 * writes - 2, 0) + 2


def tables(results):
    """The page's tables as Markdown, from what `Report.as_json` tells."""
    names = [name_of(*case) for case in CASES]
    if any(name not in results["requests_per_job"] for name in names):
        return ""
    heads = [
        f"{'warm' if warm else 'cold'}, {'short' if turns == SMALL else 'long'} chat"
        for warm, turns in CASES
    ]
    return "\n".join((*_requests(results, names, heads), "", *_dollars(results, names, heads)))


def _requests(results, names, heads):
    """Requests, and bytes there and back, of each operation."""
    told = results["requests_per_job"]
    operations = sorted({operation for name in names for operation in told[name]})
    yield _row(["requests a job: bytes sent, received", *heads])
    yield _row(["---"] * (len(heads) + 1))
    for operation in operations:
        yield _row([operation, *(_cell(results, name, operation) for name in names)])
    yield _row(["**all**", *(_cell(results, name, None) for name in names)])


def _cell(results, name, operation):
    sums = [
        sum(value for one, value in results[kind].get(name, {}).items() if operation in {None, one})
        for kind in ("requests_per_job", "bytes_sent_per_job", "bytes_received_per_job")
    ]
    if not sums[0]:
        return "-"
    return f"{sums[0]:.1f}: {_size(sums[1])}, {_size(sums[2])}"


def _size(number):
    return f"{number / 1000:.1f} KB" if number < 1_000_000 else f"{number / 1e6:.1f} MB"


def _dollars(results, names, heads):
    bills = [bill(results, name) for name in names]
    yield _row(["US dollars per 1,000 jobs", *heads])
    yield _row(["---"] + ["--:"] * len(heads))
    for service in bills[0]:
        yield _row([service, *(f"{one[service]:.4f}" for one in bills)])
    requests = [sum(v for s, v in one.items() if not s.startswith("Lambda")) for one in bills]
    yield _row(["**all but Lambda**", *(f"**{one:.4f}**" for one in requests)])


def bill(results, name):
    """US dollars per 1,000 jobs, by service."""
    number = results["requests_per_job"][name]
    sent = results["bytes_sent_per_job"][name]
    notes = results["notes"]
    seconds = results["rows"][name]["median"] + MODEL_SECONDS

    def of(service, *operations):
        """Requests of up to 64 KB."""
        found = 0.0
        for operation, count in number.items():
            if operation.startswith(f"{service}.") and (
                not operations or operation.rpartition(".")[2] in operations
            ):
                chunks = math.ceil(sent.get(operation, 0) / count / CHUNK) if count else 0
                found += count * (1 if service == "s3" else max(chunks, 1))
        return found

    def cost(price, amount):
        return PRICES[price].dollars * amount / 1000

    return {
        # And one more: the bot's own sending of the message.
        "SQS": cost("sqs", of("sqs") + 1),
        "DynamoDB": cost(
            "dynamodb write", notes[f"{name}: write units"] + notes[f"{name}: index units"]
        )
        + cost("dynamodb read", notes[f"{name}: read units"] + CANCEL_READS),
        "S3": cost("s3 write", of("s3", "PutObject", "ListObjectsV2"))
        + cost("s3 read", of("s3", "GetObject")),
        "SNS": cost("sns", of("sns")),
        "EventBridge": cost("eventbridge", notes[f"{name}: events"]),
        f"Lambda, {LAMBDA_GB:g} GB, with {MODEL_SECONDS:g} s of a model": cost("lambda", 1)
        + cost("lambda second", seconds * LAMBDA_GB),
    }


def prices():
    """The list of prices as Markdown."""
    yield _row(["price", "US dollars a million", "seen at"])
    yield _row(["---", "--:", "---"])
    for name, price in PRICES.items():
        yield _row([f"{name}: {price.what}", f"{price.dollars:g}", price.seen])


def _row(cells):
    return "| " + " | ".join(cells) + " |"
