"""The mutations: one small change of the source each, and the tests that must fail because of it.

`old` occurs exactly once in `file`, so that a mutation which no longer applies is noticed. The
guarantees G1 to G7 are listed in docs/reliability.md.
"""

from dataclasses import dataclass

ACCESS = "tests/unit/test_access.py"
ADMISSION = "tests/unit/test_admission.py"
RECORDER = "tests/unit/test_recorder.py"
FOLLOWING = "tests/contracts/test_contract_following.py"
FILETREE = "tests/unit/test_filetree.py"
STORY = "tests/pipeline/test_story.py"
FORK = "tests/pipeline/test_fork.py"
CANCEL = "tests/pipeline/test_cancel.py"
PROGRESS = "tests/pipeline/test_progress.py"
LEDGER = "tests/conformance/test_ledger.py"
CHECKOUTS = "tests/conformance/test_checkouts.py"
KEPT = "tests/conformance/test_kept_checkouts.py"
SPARES = "tests/conformance/test_spare_agents.py"
WARM = "tests/integration/test_warm.py"
INBOX = "tests/conformance/test_inbox.py"
REPLAY = "tests/replay"
CHATS = "tests/operations/test_sessions.py"
COPIES = "tests/integration/test_session_copies.py"
PUBLISHER = "tests/conformance/test_publisher.py"
FAILURES = "tests/integration/test_failures.py"
HOSTS = "tests/integration/test_hosts.py"
LAMBDA = "tests/integration/test_lambda.py"
TELEGRAM = "tests/integration/test_telegram.py"
WHOLE_PATH = "tests/integration/test_whole_path.py"
WEBHOOKS = "tests/pipeline/test_webhooks.py"
SENDER = "tests/integration/test_webhook_sender.py"
SIGNATURES = "tests/contracts/test_contract_webhooks.py"


@dataclass(frozen=True, slots=True)
class Mutation:
    """Replace `old` by `new` in `file`; then one of `tests` (pytest arguments) must fail.

    `real` says that the tests need the emulator, the CLI or the network of this machine, or take
    their time.
    """

    name: str
    guarantee: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    real: bool = False


MUTATIONS = (
    # Operators change chats as workers do.
    Mutation(
        "operator-ignores-a-live-lease",
        "G1 order",
        "worker/operations/sessions.py",
        "if lease is not None and lease.live(now) and not force:",
        "if False:",
        (f"{CHATS}::test_a_chat_with_a_live_lease_is_not_changed",),
        real=True,
    ),
    Mutation(
        "operator-does-not-raise-the-generation",
        "G4 no torn state",
        "worker/operations/sessions.py",
        '{**changes, "generation": seen.generation + 1},',
        "{**changes},",
        (f"{CHATS}::test_whoever_had_the_chat_before_can_commit_nothing_after_a_change",),
        real=True,
    ),
    Mutation(
        "fork-keeps-later-turns",
        "G4 no torn state",
        "worker/operations/content.py",
        "end = main[kept] if kept < len(main) else len(lines)",
        "end = len(lines)",
        (f"{COPIES}::test_a_fork_from_a_turn_shows_the_model_what_it_was_shown_then",),
        real=True,
    ),
    Mutation(
        "archive-not-verified",
        "G4 no torn state",
        "worker/operations/archive.py",
        "if len(data) != member.size or hashlib.sha256(data).hexdigest() != member.sha256:",
        "if False:",
        ("tests/unit/test_archive.py",),
    ),
    # G1: turns of one chat happen one at a time, in the order sent.
    Mutation(
        "group-check-dropped",
        "G1 order",
        "worker/domain/admission.py",
        "if message.group_id != group and not message.is_dead_letter:",
        "if False:",
        (STORY,),
    ),
    Mutation(
        "live-lease-ignored",
        "G1 order",
        "worker/domain/claim.py",
        "if head.lease is not None and head.lease.live(now):",
        "if False:",
        ("tests/unit/test_claim.py",),
    ),
    Mutation(
        "group-goes-on-after-a-failure",
        "G1 order",
        "worker/entrypoints/lambda_handler.py",
        "return {later.message_id for later in messages[index:]}",
        "return {message.message_id} | await _group(messages[index + 1 :], worker, seconds)",
        (
            f"{LAMBDA}::test_after_a_failure_the_later_messages_of_its_group_are_returned_and_not_run",
        ),
        real=True,
    ),
    Mutation(
        "replay-in-the-order-of-death",
        "G1 order",
        "worker/replay/case.py",
        "return sorted(cases, key=lambda case: case.place)",
        "return cases",
        (REPLAY,),
    ),
    # G2: a job has one effect, however often it is delivered.
    Mutation(
        "stale-dead-letter-runs",
        "G2 one effect",
        "worker/domain/claim.py",
        "record.state is JobState.FAILED and job.dead_letter_attempt == record.attempt",
        "record.state is JobState.FAILED",
        (REPLAY,),
    ),
    Mutation(
        "replay-deletes-before-it-sends",
        "G3 nothing lost",
        "worker/replay/run.py",
        "await self._ports.letters.send(outgoing(case.letter, task.attempt))",
        "[await self._ports.letters.delete(case.letter), "
        "await self._ports.letters.send(outgoing(case.letter, task.attempt))][1]",
        (REPLAY,),
    ),
    Mutation(
        "replay-sends-the-older-letter",
        "G3 nothing lost",
        "worker/replay/plan.py",
        "letter.sent_at > rival.sent_at",
        "letter.sent_at < rival.sent_at",
        (f"{REPLAY}/test_replay_property.py",),
    ),
    Mutation(
        "replay-forgets-what-a-killed-one-sent",
        "G3 nothing lost",
        "worker/replay/run.py",
        "unseen or (self.again and self.elsewhere > 0)",
        "unseen",
        (REPLAY,),
    ),
    Mutation(
        "readers-see-events-as-they-come",
        "G1 order",
        "contracts/following.py",
        "return follows or now >= self._held_until or self._final is not None",
        "return True",
        (FOLLOWING,),
    ),
    # G2: a job has one effect, however often it is delivered.
    Mutation(
        "telegram-names-jobs-anew",
        "G2 one effect",
        "examples/telegram_bot.py",
        "{update['update_id']}",
        "{time.time_ns()}",
        (TELEGRAM,),
        real=True,
    ),
    Mutation(
        "no-deduplication",
        "G2 one effect",
        "worker/domain/claim.py",
        "record.state is not JobState.RUNNING and not _reopened(job, record):",
        "False:",
        (STORY,),
    ),
    Mutation(
        "no-repair",
        "G2 one effect",
        "worker/domain/resume.py",
        "    return tuple(entries[:end])",
        "    return ()",
        ("tests/unit/test_resume.py",),
    ),
    Mutation(
        "claim-is-not-conditional",
        "G2 one effect",
        "worker/adapters/ledger.py",
        'condition="attribute_not_exists(generation)"',
        'condition="attribute_not_exists(no_such_name)"',
        (LEDGER,),
        real=True,
    ),
    Mutation(
        "tool-call-not-recorded",
        "G2 one effect",
        "worker/adapters/agent/recorder.py",
        "                await self._checkout.record()\n",
        "",
        (RECORDER,),
    ),
    Mutation(
        "tool-call-not-awaited",
        "G2 one effect",
        "worker/adapters/agent/recorder.py",
        '                await self._checkout.transcript.has_call(tool_use_id or details["tool_use_id"])\n',  # noqa: E501 - as it is written
        "",
        (RECORDER,),
    ),
    Mutation(
        "cost-of-the-whole-conversation",
        "G2 one effect",
        "worker/adapters/transcript.py",
        'PROCESS_ENTRIES = frozenset({"cost-state"})',
        "PROCESS_ENTRIES = frozenset()",
        ("tests/conformance/test_session_store.py",),
    ),
    # G3: nothing is lost.
    Mutation(
        "a-lost-event-keeps-a-bot-waiting",
        "G3 nothing lost",
        "contracts/following.py",
        "if self._can_look and (now >= self._look_at or (over and",
        "if self._can_look and ((over and",
        (FOLLOWING,),
    ),
    Mutation(
        "dead-letter-without-its-event",
        "G3 nothing lost",
        "worker/pipeline.py",
        "if record.event is not None:",
        "if record.event is not None and record.state is JobState.ANSWERED:",
        (STORY,),
    ),
    Mutation(
        "dead-letter-before-its-event",
        "G3 nothing lost",
        "worker/pipeline.py",
        "return ended if isinstance(ended, Retry) else await _deliver(ended, ports)",
        """\
if isinstance(ended, Retry):
                    return ended
                if isinstance(_ending(ended), DeadLetter):
                    await ports.inbox.quarantine(message, _ending(ended))
                return await _deliver(ended, ports)""",
        (STORY,),
    ),
    Mutation(
        "said-to-be-published-before-it-is",
        "G3 nothing lost",
        "worker/pipeline.py",
        "    if record.event is not None:\n",
        "    await ports.ledger.mark_published(record, ports.clock.now())\n"
        "    if record.event is not None:\n",
        (STORY,),
    ),
    Mutation(
        "sweeper-off",
        "G3 nothing lost",
        "worker/sweeper.py",
        "    now = ports.clock.now()\n",
        "    return Sweep(0, 0, 0)\n",
        (STORY,),
    ),
    Mutation(
        "host-does-not-sweep",
        "G3 nothing lost",
        "worker/entrypoints/host.py",
        "            group.create_task(self._sweep())\n",
        "",
        (
            f"{HOSTS}::test_a_host_publishes_what_a_dead_worker_had_committed_and_names_what_is_stuck",
        ),
        real=True,
    ),
    Mutation(
        "an-entry-that-failed-is-ignored",
        "G3 nothing lost",
        "worker/adapters/publisher.py",
        "busy = {n: code for n, code in codes.items() if code in TRANSIENT_CODES}",
        "busy = dict[int, str]()",
        (PUBLISHER,),
        real=True,
    ),
    Mutation(
        "entries-that-arrived-are-sent-again",
        "G2 one effect",
        "worker/adapters/publisher.py",
        "left = [left[n] for n in busy]",
        "left = list(entries)",
        (PUBLISHER,),
        real=True,
    ),
    Mutation(
        "a-cancel-is-not-heeded",
        "G2 one effect",
        "worker/domain/claim.py",
        "return Run(1, 1, generation, takeover=False, cancel=cancel)",
        "return Run(1, 1, generation, takeover=False)",
        (CANCEL,),
    ),
    Mutation(
        "a-cancel-stops-a-later-replay",
        "G2 one effect",
        "worker/domain/claim.py",
        "cancel=cancel if record.state is JobState.RUNNING else None,",
        "cancel=cancel,",
        (CANCEL,),
    ),
    Mutation(
        "a-cancelled-turn-that-fails-runs-again",
        "G2 one effect",
        "worker/domain/turn.py",
        "return Halt() if allowed.cancelled and not isinstance(verdict, Conclude) else verdict",
        "return verdict",
        (CANCEL,),
    ),
    Mutation(
        "an-interrupted-turn-leaves-no-trace",
        "G4 no torn state",
        "worker/attempt.py",
        "    if not checkout.cut_off:\n",
        "    if True:\n",
        (CANCEL,),
    ),
    Mutation(
        "the-final-event-is-not-the-last",
        "G2 one effect",
        "contracts/envelope.py",
        "def sequence(attempt: int, number: int = LAST_NUMBER) -> str:",
        "def sequence(attempt: int, number: int = 0) -> str:",
        ("tests/contracts/test_contract_events.py",),
    ),
    Mutation(
        "a-turn-waits-for-its-progress",
        "G7 bounded",
        "worker/progress.py",
        "        telling.cancel()\n",
        "",
        (f"{PROGRESS}::test_a_publisher_that_hangs_or_fails_neither_slows_nor_fails_the_turn",),
    ),
    # G4: no torn state.
    Mutation(
        "no-fence",
        "G4 no torn state",
        "worker/adapters/ledger.py",
        """\
            condition="generation = :mine",
            seen={":mine": claim.generation},
        )

    async def _fenced""",
        """\
            condition="generation >= :mine",
            seen={":mine": claim.generation},
        )

    async def _fenced""",
        (LEDGER,),
        real=True,
    ),
    Mutation(
        "no-fence-on-renewal",
        "G4 no torn state",
        "worker/adapters/ledger.py",
        '"generation = :mine AND attribute_exists(lease)"',
        '"generation >= :mine AND attribute_exists(lease)"',
        (LEDGER,),
        real=True,
    ),
    Mutation(
        "no-fence-in-memory",
        "G4 no torn state",
        "worker/adapters/memory/ledger.py",
        "if head.generation != claim.generation or record.generation != claim.generation:",
        "if False:",
        (LEDGER,),
    ),
    Mutation(
        "session-committed-apart-from-the-job",
        "G4 no torn state",
        "worker/adapters/ledger.py",
        "        await self._fenced(claim, state, job_update, session_update)\n",
        "        await self._fenced(claim, state, session_update)\n"
        "        await self._fenced(claim, state, job_update)\n",
        (LEDGER,),
        real=True,
    ),
    Mutation(
        "job-committed-apart-from-the-session",
        "G4 no torn state",
        "worker/adapters/ledger.py",
        "        await self._fenced(claim, state, job_update, session_update)\n",
        "        await self._fenced(claim, state, job_update)\n"
        "        await self._fenced(claim, state, session_update)\n",
        (LEDGER,),
        real=True,
    ),
    Mutation(
        "mirror-error-ignored",
        "G4 no torn state",
        "worker/adapters/agent/conversation.py",
        "if self._mirror_error is not None:",
        "if False:",
        (f"{FAILURES}::test_a_transcript_that_was_not_mirrored_whole_is_not_committed",),
        real=True,
    ),
    Mutation(
        "published-before-the-commit",
        "G4 no torn state",
        "worker/attempt.py",
        "    record = await ports.ledger.commit(",
        "    await ports.publisher.publish(event)\n    record = await ports.ledger.commit(",
        (STORY,),
    ),
    Mutation(
        "fence-asleep",
        "G4 no torn state",
        "worker/lease.py",
        "if self._ports.clock.now() >= self._expires_at - self._seconds / 3:",
        "if False:",
        (STORY,),
    ),
    Mutation(
        "tool-call-not-fenced",
        "G4 no torn state",
        "worker/adapters/agent/recorder.py",
        "                await self._fence()\n",
        "",
        (RECORDER,),
    ),
    Mutation(
        "segments-not-verified",
        "G4 no torn state",
        "worker/adapters/objects.py",
        "if await self.get(segment.key, target) != segment.sha256:",
        "if not await self.get(segment.key, target):",
        (CHECKOUTS,),
        real=True,
    ),
    # G5: no stall.
    Mutation(
        "heartbeat-removed",
        "G5 no stall",
        "worker/lease.py",
        """\
                await self._renew()
                await self._ports.inbox""",
        """\
                continue
                await self._ports.inbox""",
        (STORY,),
    ),
    Mutation(
        "visibility-not-shortened-on-lambda",
        "G5 no stall",
        "worker/entrypoints/lambda_handler.py",
        "await asyncio.gather(*(_show_after(message, lease, worker) for message in messages))",
        "pass",
        (f"{LAMBDA}::test_acknowledged_messages_are_left_to_lambda_to_delete",),
        real=True,
    ),
    Mutation(
        "visibility-not-shortened-on-a-host",
        "G5 no stall",
        "worker/adapters/queue.py",
        "            VisibilityTimeout=int(lease_seconds),\n",
        "",
        (INBOX,),
        real=True,
    ),
    Mutation(
        "failures-retried-for-ever",
        "G5 no stall",
        "worker/domain/turn.py",
        "    if attempts_used >= max_attempts:\n",
        "    if False:\n",
        (STORY,),
    ),
    Mutation(
        "crashes-retried-for-ever",
        "G5 no stall",
        "worker/attempt.py",
        "    if claim.attempts_used > limit:\n",
        "    if False:\n",
        (STORY,),
    ),
    # G6: no leak.
    Mutation(
        "authorization-dropped",
        "G6 no leak",
        "worker/domain/admission.py",
        "    if policy.auth_tokens is None:\n",
        "    if True:\n",
        (STORY,),
    ),
    Mutation(
        "producers-write-everywhere",
        "G6 no leak",
        "worker/domain/admission.py",
        "sender.may_write(request.tenant_id, request.chat_id) for",
        "True for",
        (ACCESS,),
    ),
    Mutation(
        "producers-fork-whatever-there-is",
        "G6 no leak",
        "worker/domain/admission.py",
        "sender.may_write(request.tenant_id, source.chat_id) for",
        "True for",
        (FORK,),
    ),
    Mutation(
        "a-fork-takes-any-session-of-a-chat",
        "G6 no leak",
        "worker/domain/session.py",
        "return session_id in {None, source.session_id}",
        "return True",
        (FORK,),
    ),
    Mutation(
        "a-fork-refers-to-the-files-of-its-source",
        "G4 no torn state",
        "worker/adapters/memory/checkouts.py",
        "_sealed=0 if forked else len(lines),",
        "_sealed=len(lines),",
        (FORK,),
    ),
    Mutation(
        "signatures-do-not-age",
        "G6 no leak",
        "worker/domain/access.py",
        "return apart if apart > seconds else None",
        "return None",
        (ACCESS,),
    ),
    Mutation(
        "token-in-the-dead-letter",
        "G6 no leak",
        "worker/adapters/queue.py",
        "_NEVER_COPIED = OURS | {AUTH_TOKEN_ATTRIBUTE, AUTH_SIGNATURE_ATTRIBUTE}",
        "_NEVER_COPIED = OURS",
        (INBOX,),
        real=True,
    ),
    Mutation(
        "environment-inherited",
        "G6 no leak",
        "worker/adapters/agent/launcher.py",
        "for name, item in os.environ.items() if name in keep}",
        "for name, item in os.environ.items() if name in keep or name}",
        (f"{WHOLE_PATH}::test_the_agent_sees_only_what_the_agent_needs",),
        real=True,
    ),
    Mutation(
        "workspace-not-cleaned",
        "G6 no leak",
        "worker/adapters/kept.py",
        "await store.run(lambda: remove_tree(directory))",
        "pass",
        (CHECKOUTS,),
        real=True,
    ),
    Mutation(
        "leftovers-of-the-dead-not-cleared",
        "G6 no leak",
        "worker/adapters/directories.py",
        "                remove_tree(path)\n",
        "                continue\n",
        (CHECKOUTS,),
        real=True,
    ),
    Mutation(
        "stale-warm-state-used-again",
        "G4 no torn state",
        "worker/domain/warm.py",
        'return plan.status == "continued" and claim.attempt == 1 and committed == state',
        "return True",
        (KEPT, "tests/unit/test_warm.py"),
    ),
    Mutation(
        "warm-state-of-another-session-used-again",
        "G4 no torn state",
        "worker/domain/warm.py",
        "head.generation, head.version, plan.session_id,",
        "head.generation, head.version, state.session_id,",
        ("tests/unit/test_warm.py",),
    ),
    Mutation(
        "idle-chat-kept-for-ever",
        "G7 bounded",
        "worker/adapters/shelf.py",
        "return self._clock.now() - place.since <= self._warmth.idle_seconds",
        "return True",
        ("tests/unit/test_warm.py",),
    ),
    Mutation(
        "spare-used-twice",
        "G6 no leak",
        "worker/adapters/spares.py",
        "        if found is not None:\n            self._leaves(found)\n",
        "",
        (SPARES,),
    ),
    Mutation(
        "spare-used-with-other-options",
        "G7 bounded",
        "worker/adapters/spares.py",
        "if s.spec == spec and self._fresh(s))",
        "if self._fresh(s))",
        (SPARES,),
    ),
    Mutation(
        "spare-never-too-old",
        "G7 bounded",
        "worker/adapters/spares.py",
        "return self._clock.now() - spare.since < self._idle_seconds",
        "return True",
        (SPARES,),
    ),
    Mutation(
        "spare-given-to-a-chat-that-has-begun",
        "G2 one effect",
        "worker/domain/warm.py",
        'if claim.plan.status != "new" or claim.attempt > 1:',
        "if False:",
        (SPARES,),
    ),
    Mutation(
        "spare-not-ended-by-a-drain",
        "G6 no leak",
        "worker/adapters/spares.py",
        "        while self._waiting:\n            self._drop(self._waiting[0])\n",
        "",
        (SPARES,),
    ),
    Mutation(
        "second-attempt-in-another-session",
        "G4 no torn state",
        "worker/adapters/memory/checkouts.py",
        'if claim.plan.status == "new" and recorded.session_id:',
        "if False:",
        (SPARES,),
    ),
    Mutation(
        "second-attempt-in-another-directory",
        "G4 no torn state",
        "worker/adapters/checkouts.py",
        'if claim.plan.status == "new" and log.session_id is not None:',
        "if False:",
        (SPARES,),
        real=True,
    ),
    Mutation(
        "process-used-with-other-options",
        "G7 bounded",
        "worker/adapters/agent/live.py",
        "            and _bare(options) == _bare(self._options)\n",
        "",
        (f"{WARM}::test_after_an_error_an_interrupt_or_other_options_the_process_is_a_new_one",),
        real=True,
    ),
    Mutation(
        "process-used-after-an-error",
        "G4 no torn state",
        "worker/adapters/agent/live.py",
        "self._good = not outcome.is_error and not outcome.timed_out and await self._quiet()",
        "self._good = True",
        (WARM,),
        real=True,
    ),
    Mutation(
        "agent-outlives-its-worker",
        "G6 no leak",
        "worker/adapters/agent/launcher.py",
        "    _kill_descendants()\n    os._exit(143)\n",
        "    pass\n",
        (f"{HOSTS}::test_killing_the_worker_ends_its_cli_and_the_tools_of_that",),
        real=True,
    ),
    Mutation(
        "agent-without-a-worker",
        "G6 no leak",
        "worker/adapters/agent/launcher.py",
        "    if os.getppid() != worker:",
        "    if False:",
        ("tests/unit/test_profile.py",),
    ),
    # G7: bounded.
    Mutation(
        "slices-not-counted",
        "G7 bounded",
        "worker/attempt.py",
        "slices_left=policy.max_slices - claim.slices - 1,",
        "slices_left=policy.max_slices,",
        (STORY,),
    ),
    Mutation(
        "time-not-counted-over-slices",
        "G7 bounded",
        "worker/attempt.py",
        "job.spec.timeout_seconds - claim.spent.duration_ms / 1000",
        "job.spec.timeout_seconds",
        (STORY,),
    ),
    Mutation(
        "limits-can-be-widened",
        "G7 bounded",
        "worker/domain/policy.py",
        "    if asked > limit:\n",
        "    if False:\n",
        (ADMISSION,),
    ),
    Mutation(
        "tenants-can-be-widened",
        "G7 bounded",
        "worker/domain/tenancy.py",
        "    return _narrowed(policy, own)\n\n\ndef usage_of",
        "    return policy\n\n\ndef usage_of",
        (ACCESS,),
    ),
    Mutation(
        "reservations-do-not-count",
        "G7 bounded",
        "worker/adapters/usage.py",
        "AND #used <= :room",
        "AND :room <= :room",
        ("tests/conformance/test_usage.py",),
        real=True,
    ),
    Mutation(
        "budgets-not-settled",
        "G7 bounded",
        "worker/pipeline.py",
        "    await settle(record, ports)\n",
        "",
        ("tests/pipeline/test_usage.py",),
    ),
    Mutation(
        "workspace-without-limits",
        "G7 bounded",
        "worker/adapters/filetree.py",
        "if len(stamps) > self._limits.files or size > self._limits.size:",
        "if False:",
        (FILETREE,),
    ),
    # Webhooks: signed, nothing lost, nobody delays another, nothing leaks, no private address.
    Mutation(
        "webhook-signature-not-compared",
        "G6 no leak",
        "contracts/webhooks.py",
        "if not sum(hmac.compare_digest(ours, theirs)",
        "if False and not sum(hmac.compare_digest(ours, theirs)",
        (f"{SIGNATURES}::test_a_published_case_has_the_outcome_that_the_libraries_demand",),
    ),
    Mutation(
        "webhook-of-any-age",
        "G2 one effect",
        "contracts/webhooks.py",
        "    if age > tolerance_seconds:",
        "    if False:",
        (f"{SIGNATURES}::test_a_published_case_has_the_outcome_that_the_libraries_demand",),
        real=True,
    ),
    Mutation(
        "webhook-id-with-full-stops",
        "G2 one effect",
        "worker/webhooks/event.py",
        '.replace(".", "%2E")',
        "",
        (f"{WEBHOOKS}::test_an_event_id_with_a_full_stop_becomes_a_webhook_id_without",),
    ),
    Mutation(
        "webhooks-from-two-workers",
        "G2 one effect",
        "worker/adapters/memory/webhooks.py",
        "if lane.owner not in {None, owner} and lane.leased_until > now:",
        "if False:",
        (f"{WEBHOOKS}::test_two_workers_at_one_lane_do_not_send_twice",),
    ),
    Mutation(
        "lane-does-not-look-again",
        "G3 nothing lost",
        "worker/webhooks/lane.py",
        "        if await run.next(lane) is None:\n            return\n",
        "        return\n",
        (
            f"{WEBHOOKS}::test_a_delivery_stored_while_the_lane_s_owner_is_about_to_leave_is_not_forgotten",
        ),
    ),
    Mutation(
        "retry-after-ignored",
        "G7 bounded",
        "worker/webhooks/policy.py",
        "    asked = retry_after_seconds(answer.retry_after, now)\n",
        "    asked = None\n",
        (f"{WEBHOOKS}::test_retry_after_is_honoured_and_the_subscriber_left_alone_meanwhile",),
        real=True,
    ),
    Mutation(
        "gone-is-tried-again",
        "G7 bounded",
        "worker/webhooks/policy.py",
        "    if answer.status == GONE:",
        "    if False:",
        (f"{WEBHOOKS}::test_410_disables_the_subscription_at_once_and_everybody_is_told",),
        real=True,
    ),
    Mutation(
        "exhausted-webhook-not-buried",
        "G3 nothing lost",
        "worker/webhooks/lane.py",
        "                await self._bury(delivery, answer, event)\n",
        "                pass\n",
        (
            f"{WEBHOOKS}::test_what_could_not_be_delivered_is_in_the_dead_letter_queue_with_its_reason",
        ),
    ),
    Mutation(
        "wakes-only-by-queue",
        "G3 nothing lost",
        "worker/webhooks/consumer.py",
        "            waiting.append(subscription.subscription_id)\n",
        "            pass\n",
        (f"{WEBHOOKS}::test_a_worker_that_died_in_the_middle_is_followed_by_another",),
        real=True,
    ),
    Mutation(
        "tenant-filter-lets-pass",
        "G6 no leak",
        "worker/webhooks/subscription.py",
        "and (not self.tenants or event.tenant in self.tenants)",
        "and True",
        (f"{WEBHOOKS}::test_each_subscriber_gets_what_its_filters_let_pass_and_nothing_else",),
    ),
    Mutation(
        "disabling-not-told",
        "G3 nothing lost",
        "worker/webhooks/consumer.py",
        "        await announce(subscription, ports)\n",
        "        pass\n",
        (f"{WEBHOOKS}::test_a_disabling_that_could_not_be_told_is_told_by_a_sweep",),
        real=True,
    ),
    Mutation(
        "answers-kept-as-they-are",
        "G6 no leak",
        "worker/webhooks/lane.py",
        "            kept = snippet(answer.beginning, event.body, secrets)\n",
        '            kept = answer.beginning.decode(errors="replace")\n',
        (f"{WEBHOOKS}::test_no_log_holds_a_secret_or_what_the_event_says",),
    ),
    Mutation(
        "webhooks-to-private-addresses",
        "G6 no leak",
        "worker/adapters/webhook_sender.py",
        "            if not is_allowed(address, allow_loopback=self._allow_loopback):",
        "            if False:",
        (SENDER,),
        real=True,
    ),
    Mutation(
        "webhook-connection-not-pinned",
        "G6 no leak",
        "worker/adapters/webhook_sender.py",
        "                httpx.URL(url).copy_with(host=str(address)),",
        "                httpx.URL(url),",
        (SENDER,),
        real=True,
    ),
    Mutation(
        "webhook-certificate-of-any-name",
        "G6 no leak",
        "worker/adapters/webhook_sender.py",
        '"sni_hostname": target.host,',
        '"sni_hostname": str(address),',
        (SENDER,),
        real=True,
    ),
    Mutation(
        "webhook-answers-read-to-the-end",
        "G7 bounded",
        "worker/adapters/webhook_sender.py",
        "            if len(kept) >= MAX_ANSWER_BYTES:\n",
        "            if False:\n",
        (SENDER,),
        real=True,
    ),
    Mutation(
        "due-found-late",
        "G3 nothing lost",
        "worker/adapters/webhook_store.py",
        'KeyConditionExpression="part = :part AND due_at <= :now",',
        'KeyConditionExpression="part = :part AND due_at < :now",',
        ("tests/conformance/test_webhook_store.py",),
        real=True,
    ),
)
