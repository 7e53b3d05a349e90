"""What a replay would do, by the state of each letter's job: the rows of docs/dead-letters.md."""

import json
from dataclasses import replace

import pytest

from worker.domain.job import JobRecord, JobState
from worker.replay.case import Case, ChatView, Selection, UnknownLetterError, grouped, latest
from worker.replay.letter import REDRIVEN, Letter, fingerprint
from worker.replay.plan import Action, attempt_of, outgoing, plan

NOW = 1000.0


def letter(number=1, chat="1", *, body=None, reason="model_error", error="no", attempt=3, **own):
    request = {"user_message": f"text {number}", "chat_id": chat, "job_id": f"j-{number}"}
    attributes = {
        "job_id": f"j-{number}",
        "dead_letter_reason": reason,
        "dead_letter_error": error,
        "dead_letter_attempt": str(attempt),
        "original_message_id": f"m-{number}",
        "dead_letter_origin": json.dumps({"group": chat}),
        **own,
    }
    text = json.dumps(request) if body is None else body
    return Letter(f"letter-{number}", f"m-{number}", text, attributes, NOW + number)


def record(number=1, state=JobState.FAILED, attempt=3, chat="1", **fields):
    return JobRecord(
        f"j-{number}", f"default/{chat}", state, attempt, created_at=NOW + number, **fields
    )


def decided(case, *others, **how):
    [step, *_] = plan([case], [case, *others], **how).steps
    return step


@pytest.mark.parametrize(
    ("state", "attempt", "action"),
    [
        (JobState.FAILED, 3, Action.RUN),
        (JobState.FAILED, 8, Action.LEAVE),
        (JobState.REJECTED, 0, Action.RUN),
        (JobState.ANSWERED, 4, Action.PUBLISH),
        (JobState.PUBLISHED, 4, Action.ARCHIVE),
        (JobState.CANCELLED, 3, Action.LEAVE),
        (JobState.RUNNING, 3, Action.RUN),
        (JobState.RUNNING, 4, Action.LEAVE),
    ],
)
def test_the_job_s_state_decides(state, attempt, action):
    assert decided(Case(letter(), record(state=state, attempt=attempt))).action is action


def test_a_letter_of_a_forgotten_job_runs_as_a_new_one():
    step = decided(Case(letter()))
    assert step.action is Action.RUN
    assert "no record" in step.why


def test_a_letter_that_no_worker_can_read_stays_until_it_is_edited():
    step = decided(Case(letter(body="{"), record(state=JobState.REJECTED)))
    assert step.action is Action.LEAVE
    assert "invalid_json" in step.why


def test_a_job_that_runs_just_now_is_left_alone():
    chat = ChatView("default/1", busy_with="j-1")
    moved = replace(letter(), attributes={})
    assert decided(Case(moved, record(state=JobState.RUNNING), chat)).action is Action.LEAVE


def test_a_job_id_of_another_chat_stays():
    step = decided(Case(letter(), record(chat="2")))
    assert step.action is Action.LEAVE
    assert "default/2" in step.why


def test_an_earlier_letter_of_a_job_is_done_when_its_later_one_is_there():
    old = Case(letter(), record(attempt=8))
    new = Case(replace(letter(attempt=8), message_id="letter-9"), record(attempt=8))
    steps = plan([old, new], [old, new]).steps
    assert [step.action for step in steps] == [Action.ARCHIVE, Action.RUN]


def test_of_two_letters_of_a_job_one_is_sent():
    first = Case(letter(), record())
    copy = Case(replace(letter(), message_id="letter-9"), record())
    other = Case(replace(letter(), message_id="letter-8", body=letter(2).body), record())
    other = replace(other, letter=replace(other.letter, body=first.letter.body + " "))
    steps = plan([first, copy, other], [first, copy, other]).steps
    assert [step.action for step in steps] == [Action.RUN, Action.ARCHIVE, Action.LEAVE]


@pytest.mark.parametrize("lost", [letter(reason="unauthorized"), replace(letter(), moved=True)])
def test_a_letter_whose_sender_was_not_authorized_needs_somebody_to_vouch_for_it(lost):
    assert decided(Case(lost)).action is Action.LEAVE
    assert decided(Case(lost), vouch=True).action is Action.RUN


def test_the_plan_tells_what_it_costs_and_whether_the_chat_has_gone_on():
    gone_on = ChatView("default/1", turns=4, cost_usd=2.0, last_turn_at=NOW + 50)
    step = decided(Case(letter(), record(), gone_on))
    assert (step.cost_usd, step.newer_turns) == (0.5, True)
    quiet = replace(gone_on, last_turn_at=NOW - 50)
    assert not decided(Case(letter(), record(), quiet)).newer_turns
    unknown = Case(letter(2), record(2))
    made = plan([Case(letter(), record(), gone_on), unknown], [])
    assert (made.known_cost_usd, made.without_cost) == (0.5, 1)


def test_the_plan_names_chats_of_which_an_earlier_letter_stays():
    cases = [Case(letter(n), record(n)) for n in (1, 2, 3)]
    assert plan(cases[1:], cases).skipping == ("1",)
    assert plan(cases[:2], cases).skipping == ()


def test_what_is_sent_is_the_job_s_message_and_not_the_letter():
    case = Case(letter(origin="bot"), record())
    sent = outgoing(case.letter, attempt_of(case))
    assert sent.group_id == "1"
    assert sent.attributes == {
        "origin": "bot",
        "job_id": "j-1",
        "original_message_id": "m-1",
        "dead_letter_attempt": "3",
    }


def test_a_replay_of_a_letter_without_an_attempt_begins_a_new_series():
    moved = replace(letter(), attributes={}, moved=True)
    case = Case(moved, record(state=JobState.RUNNING, attempt=5))
    assert attempt_of(case) == 5


def test_a_replay_of_a_forgotten_job_names_no_attempt():
    assert attempt_of(Case(letter())) is None
    assert "dead_letter_attempt" not in outgoing(letter(), None).attributes


def test_two_letters_are_never_taken_for_one_by_sqs():
    again = replace(letter(), message_id="letter-2")
    assert outgoing(letter(), 3).deduplication_id != outgoing(again, 3).deduplication_id


def test_failures_that_differ_only_in_ids_and_numbers_are_one_kind():
    one = fingerprint("model_error", "the model did not answer 'x': 400 req_011abc")
    two = fingerprint("model_error", "the model did not answer 'y': 403 req_022def")
    assert one == two
    assert one != fingerprint("timeout", "the model did not answer 'y': 403 req_022def")
    assert one != fingerprint("model_error", "the key is not valid")


def test_groups_count_letters_and_chats_and_the_largest_comes_first():
    cases = [Case(letter(n, chat=str(n % 2), error=f"no {n}")) for n in range(1, 6)]
    cases.append(Case(letter(6, reason="invalid_json")))
    first, second = grouped(cases)
    assert (first.reason, first.letters, first.chats) == ("model_error", 5, 2)
    assert (first.first, first.last) == (NOW + 1, NOW + 5)
    assert (second.reason, second.letters) == ("invalid_json", 1)


def test_a_redriven_letter_is_grouped_by_its_job_s_last_error():
    moved = replace(letter(), attributes={})
    case = Case(moved, record(error_code="agent_died"))
    assert case.reason == REDRIVEN
    assert "agent_died" in case.error
    assert case.group != Case(moved).group


def test_a_selection_takes_what_fits_all_of_its_conditions():
    cases = [Case(letter(n, chat=str(n))) for n in range(1, 4)]
    assert Selection(chat="2").of(cases, NOW + 10) == [cases[1]]
    assert Selection(older=9).of(cases, NOW + 10) == cases[:1]
    assert Selection(newer=8, tenant="default").of(cases, NOW + 10) == cases[1:]
    assert Selection(group=cases[0].group).of(cases, NOW + 10) == cases
    assert Selection(ids=("j-3", "letter-1")).of(cases, NOW) == [cases[0], cases[2]]
    assert Selection(reason="timeout").of(cases, NOW) == []


@pytest.mark.parametrize(("name", "says"), [("nobody", "no letter"), ("lett", "several")])
def test_an_id_that_names_no_letter_or_several_is_refused(name, says):
    cases = [Case(letter(n)) for n in (1, 2)]
    with pytest.raises(UnknownLetterError, match=says):
        Selection(ids=(name,)).of(cases, NOW)


def test_of_two_copies_of_one_letter_the_edited_one_counts():
    old = Case(letter())
    new = Case(replace(letter().edited("{}"), message_id="put-1"))
    assert latest([old, new]) == ([new], [old])


def test_a_job_id_of_a_message_that_sqs_moved_is_its_original_one():
    moved = Letter(
        "11111111-1111-1111-1111-111111111111",
        "1",
        json.dumps({"user_message": "hi", "chat_id": "1"}),
        {},
        NOW,
        deduplication_id="22222222-2222-2222-2222-222222222222",
        moved=True,
    )
    assert moved.job_ids == (
        "sqs-22222222-2222-2222-2222-222222222222",
        "sqs-11111111-1111-1111-1111-111111111111",
    )
