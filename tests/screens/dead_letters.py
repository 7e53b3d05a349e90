"""`dlq list` and a dry run of `dlq replay`, of the incident in docs/incident.md."""

import json
from dataclasses import replace

from rich.console import Console

from worker.domain.job import JobRecord, JobState
from worker.entrypoints.cli.dlq import screens
from worker.replay.case import Case, ChatView, Selection
from worker.replay.desk import View
from worker.replay.letter import Letter
from worker.replay.run import propose

NOW = 1_800_000_000.0
TYPO = """user_message: is missing; send the user's text; user_mesage: is not a known field; \
remove it, or use: user_message, chat_id, ..."""
REFUSED = "the model did not answer: API Error: 400 invalid beta header"
TOO_MUCH = """options.max_turns: 999 is above this deployment's limit of 50; \
ask for less or leave it out"""
KINDS = (
    ("invalid_request", 100, TYPO),
    ("model_error", 120, REFUSED),
    ("option_not_allowed", 80, TOO_MUCH),
)


def view() -> View:
    cases = [
        _case(reason, error, number, n)
        for number, (reason, letters, error) in enumerate(KINDS)
        for n in range(letters)
    ]
    return View(tuple(cases))


def groups(console: Console) -> None:
    found = view()
    console.print(screens.groups(found.cases, found, NOW), highlight=False)


def dry_run(console: Console) -> None:
    made = propose(view(), Selection(reason="model_error"), NOW)
    console.print(screens.plan(made, 8), highlight=False)


def _case(reason: str, error: str, number: int, n: int) -> Case:
    chat = f"chat-{n % 40:02d}"
    job = f"update-{88_000 + 1000 * number + n}"
    request = {"user_message": "hello", "chat_id": chat, "job_id": job}
    failed = reason == "model_error"
    attributes = {
        "job_id": job,
        "dead_letter_reason": reason,
        "dead_letter_error": error,
        "dead_letter_attempt": str(int(failed)),
        "dead_letter_origin": json.dumps({"group": chat}),
    }
    ident = f"{(n * 7919 + number) * 2654435761 % 2**32:08x}-0000-4000-8000-{n:012d}"
    since = NOW - 1500 + 200 * number + n * 7
    letter = Letter(ident, ident, json.dumps(request), attributes, since)
    state = JobState.FAILED if failed else JobState.REJECTED
    record = JobRecord(job, f"default/{chat}", state, int(failed), created_at=since)
    if failed and n == 1:  # it was answered meanwhile
        record = replace(record, state=JobState.PUBLISHED, attempt=2)
    turned_at = NOW - 60 if n % 40 < 3 else NOW - 7200
    turns = 0 if n % 40 == 5 else 4
    return Case(letter, record, ChatView(f"default/{chat}", turns, 0.034 * turns, turned_at))
