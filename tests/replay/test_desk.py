"""The workbench on its in-memory ports: what each command does, and what a kill leaves."""

import contextlib
import json
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.replay.bench import Bench, Killed, run
from worker.domain.errors import UnavailableError
from worker.domain.job import JobState
from worker.domain.turn import AgentResult
from worker.replay.case import Selection
from worker.replay.journal import Control, Phase, ReplayJournal, Wish
from worker.replay.letter import Letter
from worker.replay.plan import Action
from worker.replay.record import MalformedLetterError, letter_of, letter_record
from worker.replay.run import Manner, Replayer, UnknownReplayError, propose

ALL = Selection()


def test_looking_hides_moves_and_deletes_nothing():
    async def course():
        bench = Bench()
        for n in range(30):
            bench.fail(f"j-{n}", chat=str(n % 4))
        before = bench.letters.letters
        view = await bench.operator().look()
        assert len(view.cases) == 30
        assert bench.letters.letters == before
        assert bench.letters.hidden == 0

    run(course())


def test_a_replay_runs_each_chat_s_letters_in_the_order_they_were_sent():
    async def course():
        bench = Bench()
        for n in (1, 2, 3, 4):
            bench.know(f"j-{n}", JobState.FAILED, chat=str(n % 2))
        for n in (4, 3, 2, 1):  # they died in another order
            bench.die(f"j-{n}", chat=str(n % 2))
        for n in (1, 2, 3, 4):
            bench.ledger.jobs[f"j-{n}"] = _created(bench, f"j-{n}", n)
        progress = await Replayer(bench.operator()).begin(ALL, Manner())
        assert (progress.phase, progress.sent, progress.left) == (Phase.DONE, 4, 0)
        await bench.work()
        assert [t for t in bench.told if t in {"j-1", "j-3"}] == ["j-1", "j-3"]
        assert [t for t in bench.told if t in {"j-2", "j-4"}] == ["j-2", "j-4"]
        assert bench.letters.letters == []

    run(course())


def _created(bench, job, at):
    return replace(bench.ledger.jobs[job], created_at=float(at))


def test_a_replay_that_is_done_twice_has_one_effect():
    async def course():
        bench = Bench()
        bench.fail("j-1")
        desk = bench.operator()
        async with desk.hold() as held:
            copy = held.view.cases[0].letter
        await Replayer(desk).begin(ALL, Manner())
        bench.letters.add(copy)  # as if it had not been deleted
        await bench.work()
        progress = await Replayer(desk).begin(ALL, Manner())
        await bench.work()
        assert bench.told == ["j-1"]
        assert (progress.sent, progress.archived) == (0, 1)
        assert bench.letters.letters == []

    run(course())


def test_what_was_answered_and_not_published_is_only_published():
    async def course():
        bench = Bench()
        bench.know("j-1", JobState.ANSWERED)
        bench.die("j-1")
        await Replayer(bench.operator()).begin(ALL, Manner())
        await bench.work()
        assert bench.told == []
        assert bench.events == [{"id": "j-1", "data": {}}]
        assert bench.ledger.jobs["j-1"].state is JobState.PUBLISHED

    run(course())


def test_what_stays_is_told_with_its_reason():
    async def course():
        bench = Bench()
        bench.die("j-1", body="{", reason="invalid_json")
        view = await bench.operator().look()
        [step] = propose(view, ALL, bench.clock.now()).steps
        assert (step.action, "edit it first" in step.why) == (Action.LEAVE, True)
        progress = await Replayer(bench.operator()).begin(ALL, Manner())
        assert (progress.phase, progress.left) == (Phase.DONE, 1)
        assert len(bench.letters.letters) == 1
        assert bench.letters.hidden == 0

    run(course())


def test_letters_that_sqs_moved_itself_are_replayed_too():
    async def course():
        bench = Bench()
        bench.know("j-1", JobState.RUNNING, attempt=5)
        bench.move("j-1")
        bench.move("j-2")
        progress = await Replayer(bench.operator()).begin(ALL, Manner())
        assert progress.sent == 2
        await bench.work()
        assert bench.told == ["j-1", "j-2"]

    run(course())


def test_when_a_letter_cannot_be_sent_what_follows_in_its_chat_waits():
    async def course():
        bench = Bench()
        for job, chat in (("j-1", "1"), ("j-2", "1"), ("j-3", "2")):
            bench.fail(job, chat)
        desk = bench.operator()
        send = bench.letters.send

        async def refuse(message):
            if "j-1" in message.body:
                raise UnavailableError("sqs", "send_message: it is out of reach")
            return await send(message)

        bench.letters.send = refuse
        progress = await Replayer(desk).begin(ALL, Manner())
        assert (progress.phase, progress.sent, progress.failed) == (Phase.INCOMPLETE, 1, 2)
        assert "out of reach" in progress.error
        bench.letters.send = send
        progress = await Replayer(desk).resume(progress.replay, Manner())
        assert (progress.phase, progress.sent) == (Phase.DONE, 3)
        await bench.work()
        assert [t for t in bench.told if t != "j-3"] == ["j-1", "j-2"]

    run(course())


def test_a_replay_can_be_paused_slowed_and_cancelled_by_others():
    async def course():
        bench = Bench()
        for n in range(40):
            bench.fail(f"j-{n}", chat=str(n))
        desk = bench.operator()
        journal = ReplayJournal(desk.ports)
        seen = []

        def watch(progress):
            seen.append(progress)
            wishes = {1: Control(Wish.PAUSE), 3: Control(Wish.RUN, 2.0), 8: Control(Wish.CANCEL)}
            if len(seen) in wishes:
                control = wishes[len(seen)]
                bench.documents.texts[f"replays/{progress.replay}/control"] = json.dumps(
                    {"wish": control.wish, "rate": control.rate}
                )

        progress = await Replayer(desk, watch).begin(ALL, Manner())
        assert [p.phase for p in seen[:4]] == [Phase.RUNNING, Phase.PAUSED, Phase.PAUSED, "running"]
        assert {b.sent - a.sent for a, b in pairwise(seen[3:8])} == {2}
        assert {round(b.at - a.at, 6) for a, b in pairwise(seen[3:8])} == {1.0}
        assert progress.phase is Phase.CANCELLED
        assert len(bench.letters.letters) == 40 - progress.sent > 0
        assert bench.letters.hidden == 0
        progress = await Replayer(desk).resume(progress.replay, Manner())
        assert (progress.phase, progress.sent) == (Phase.DONE, 40)
        assert (await journal.progress(progress.replay)).phase is Phase.DONE

    run(course())


def test_a_killed_replay_hides_its_letters_for_a_moment_and_can_be_gone_on_with():
    async def course():
        bench = Bench()
        for n in range(25):
            bench.fail(f"j-{n}", chat=str(n))
        with pytest.raises(Killed):
            await Replayer(bench.operator(kill_at=60)).begin(ALL, Manner())
        assert bench.letters.hidden > 0
        other = bench.operator()
        [name] = await ReplayJournal(other.ports).names()
        assert not (await ReplayJournal(other.ports).progress(name)).silent(bench.clock.now())
        progress = await Replayer(other).resume(name, Manner())
        assert (progress.phase, progress.sent) == (Phase.DONE, 25)
        assert bench.letters.letters == []
        await bench.work()
        assert sorted(bench.told) == sorted(f"j-{n}" for n in range(25))

    run(course())


@pytest.mark.parametrize("kill_at", range(9, 16))
def test_a_letter_that_was_sent_and_not_deleted_is_only_deleted(kill_at):
    async def course():
        bench = Bench()
        bench.fail("j-1")
        desk = bench.operator(kill_at=kill_at, after=True)
        try:
            await Replayer(desk).begin(ALL, Manner())
        except Killed:
            await bench.work()
            await bench.clock.sleep(400)
            desk = bench.operator()
            [name] = await ReplayJournal(desk.ports).names()
            progress = await Replayer(desk).resume(name, Manner())
            assert (progress.phase, progress.sent) == (Phase.DONE, 1)
        assert bench.letters.letters == []
        await bench.work()
        assert bench.told == ["j-1"]
        notes = await bench.rows.notes("j-1")
        assert {note["what"] for note in notes} == {"replayed"}, "the job's history tells it"

    run(course())


def test_letters_that_a_killed_replay_still_hides_are_waited_for():
    async def course():
        bench = Bench()
        bench.fail("j-1")
        kills = range(1, 30)
        for kill_at in kills:  # until one falls between the log and the deletion
            desk = bench.operator(kill_at=kill_at, after=True)
            with contextlib.suppress(Killed):
                await Replayer(desk).begin(ALL, Manner(hold=20))
            names = await ReplayJournal(bench.operator().ports).names()
            logged = await ReplayJournal(bench.operator().ports).logged(names[-1]) if names else {}
            if logged:
                break
            await bench.clock.sleep(21)
        assert bench.letters.hidden == 1
        progress = await Replayer(bench.operator()).resume(names[-1], Manner(patience=60))
        assert (progress.phase, progress.sent) == (Phase.DONE, 1)
        assert bench.letters.letters == []

    run(course())


def test_a_replay_nobody_knows_cannot_be_gone_on_with():
    async def course():
        with pytest.raises(UnknownReplayError, match="r-x"):
            await Replayer(Bench().operator()).resume("r-x", Manner())

    run(course())


def test_a_discarded_letter_can_be_restored_and_replayed():
    async def course():
        bench = Bench()
        letter = bench.fail("j-1")
        desk = bench.operator()
        async with desk.hold() as held:
            assert await desk.discard(held, held.view.cases, "a test of the bot") == []
        assert bench.letters.letters == []
        [kept] = await desk.archive()
        assert (kept.why, kept.by, kept.letter.body) == ("a test of the bot", "ada", letter.body)
        await desk.restore(kept)
        assert await desk.archive() == []
        [case] = (await desk.look()).cases
        assert (case.letter.id, case.letter.since) == (letter.id, kept.letter.since)
        assert (await Replayer(desk).begin(ALL, Manner())).sent == 1
        await bench.work()
        assert bench.told == ["j-1"]

    run(course())


def test_an_edited_letter_keeps_its_lineage_and_the_one_before_is_kept():
    async def course():
        bench = Bench()
        bench.know("j-1", JobState.REJECTED, attempt=0)
        letter = bench.die("j-1", body='{"user_mesage": "hi", "chat_id": "1", "job_id": "j-1"}')
        desk = bench.operator()
        async with desk.hold() as held:
            body = held.view.cases[0].letter.body.replace("mesage", "message")
            assert await desk.edit(held, [(held.view.cases[0], body)]) == []
        [case] = (await desk.look()).cases
        assert (case.letter.id, case.letter.origin.version) == (letter.id, 1)
        [kept] = await desk.archive()
        assert (kept.letter.body, kept.letter.origin.version) == (letter.body, 0)
        [note] = await bench.rows.notes("j-1")
        assert (note["what"], note["by"], note["letter"]) == ("edited", "ada", letter.id)
        await Replayer(desk).begin(ALL, Manner())
        await bench.work()
        assert bench.told == ["hi"]

    run(course())


@pytest.mark.parametrize("kill_at", range(3, 10))
@pytest.mark.parametrize("after", [False, True])
def test_an_edit_that_is_killed_leaves_the_letter_and_can_be_repeated(kill_at, after):
    async def course():
        bench = Bench()
        bench.know("j-1", JobState.REJECTED, attempt=0)
        bench.die("j-1", body="{")
        good = json.dumps({"user_message": "hi", "chat_id": "1", "job_id": "j-1"})
        for desk in (bench.operator(kill_at=kill_at, after=after), bench.operator()):
            try:
                async with desk.hold(5) as held:
                    [case] = held.view.cases
                    if case.letter.body != good:
                        await desk.edit(held, [(case, good)])
            except Killed:
                assert bench.letters.letters
                await _later(bench, 10)
        await Replayer(bench.operator()).begin(ALL, Manner())
        await bench.work()
        assert bench.told == ["hi"]
        assert bench.letters.letters == []

    run(course())


async def _later(bench, seconds):
    await bench.clock.sleep(seconds)


def test_letters_go_out_and_in_again_unchanged():
    async def course():
        bench = Bench()
        bench.fail("j-1")
        bench.move("j-2", chat="2")
        bench.die("j-3", body='\u2028{"broken": ')
        desk = bench.operator()
        lines = [json.dumps(letter_record(c.letter)) for c in (await desk.look()).cases]
        async with desk.hold() as held:
            await desk.discard(held, held.view.cases, "moving")
        await desk.put_in([letter_of(json.loads(line)) for line in lines], "a file")
        again = [json.dumps(letter_record(c.letter)) for c in (await desk.look()).cases]
        assert sorted(again) == sorted(lines)
        await desk.put_in([letter_of(json.loads(line)) for line in lines], "a file")
        assert len((await desk.look()).cases) == 3

    run(course())


def test_a_record_has_no_secret_and_a_forged_one_brings_none():
    letter = Letter("m", "1", "{}", {"auth_token": "s3cret", "origin": "bot"}, 1.0)
    record = letter_record(letter)
    assert "s3cret" not in json.dumps(record)
    record["attributes"]["auth_token"] = "s3cret"
    assert "auth_token" not in letter_of(record).attributes


@pytest.mark.parametrize(
    "changes",
    [{"body": 1}, {"letter": "a b"}, {"attributes": []}, {"since": "x"}, {"group": ""}],
)
def test_a_line_that_is_no_letter_is_refused(changes):
    record = letter_record(Letter("m", "1", "{}", {}, 1.0))
    with pytest.raises(MalformedLetterError):
        letter_of({**record, **changes})


def test_the_audit_tells_who_did_what_when_and_from_where():
    async def course():
        bench = Bench()
        bench.fail("j-1")
        bench.fail("j-2")
        desk = bench.operator()
        async with desk.hold() as held:
            await desk.discard(held, held.view.cases[:1], "a test")
        await Replayer(desk).begin(ALL, Manner())
        entries = await desk.audits()
        told = [(e["what"], [item["job"] for item in e["letters"]]) for e in entries]
        assert ("discard", ["j-1"]) in told
        assert ("replay begun", ["j-2"]) in told
        assert {(e["by"], e["from"]) for e in entries} == {("ada", "console")}
        assert all(e["at"] == bench.clock.now() for e in entries)

    run(course())


def test_a_job_that_fails_again_leaves_a_new_letter_that_can_be_replayed_again():
    async def refuse(turn, checkout):
        return AgentResult(turn.session_id, "success", is_error=True, api_error_status=400)

    async def course():
        bench = Bench(refuse)
        bench.fail("j-1")
        desk = bench.operator()
        for attempt in (2, 3):
            assert (await Replayer(desk).begin(ALL, Manner())).sent == 1
            await bench.work()
            [case] = (await desk.look()).cases
            assert case.letter.attempt == attempt
        assert bench.told == ["j-1", "j-1"]

    run(course())
