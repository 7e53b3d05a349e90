"""One short question to the model, through everything that a turn goes through but the tables."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace

from contracts import JobRequest, session_key
from worker.bootstrap import build
from worker.domain.claim import Claim
from worker.domain.errors import WorkerError
from worker.domain.job import Job
from worker.domain.policy import narrow
from worker.domain.session import SessionHead, SessionPlan
from worker.domain.turn import AgentFailure, AgentResult
from worker.operations.doctor.finding import Finding, ok, problem
from worker.ports import Ports, Turn

MODEL = "model"
QUESTION = "Answer with the one word ok."
SECONDS = 90.0
MAX_USD = 0.25

REMEDY = "look at the error; the CLI's own words are in it"


async def call_model(environ: Mapping[str, str]) -> Finding:
    """What became of it. No job and no session is written."""
    try:
        # The worker's log goes to standard output, where the findings go.
        worker = build({**environ, "LOG_LEVEL": "ERROR", "SPARE_AGENTS": "0"}, threads=8)
    except WorkerError as exc:
        return problem(MODEL, "call", str(exc), "mend the configuration first")
    try:
        began = time.monotonic()
        outcome = await _ask(worker.ports)
    except WorkerError as exc:
        return problem(MODEL, "call", f"the turn could not begin: {exc}", REMEDY)
    finally:
        worker.aws.close()
    match outcome:
        case AgentFailure():
            return problem(MODEL, "call", f"{outcome.kind}: {outcome.message}", REMEDY)
        case AgentResult(is_error=True):
            said = "; ".join(outcome.errors) or outcome.text
            return problem(MODEL, "call", f"the model did not answer: {said}", REMEDY)
        case AgentResult():
            seconds = time.monotonic() - began
            cost = f"${outcome.cost_usd:.4f}"
            return ok(MODEL, "call", f"answered through the agent in {seconds:.1f} s for {cost}")


async def _ask(ports: Ports) -> AgentResult | AgentFailure:
    request = JobRequest(user_message=QUESTION, chat_id="doctor-probe")
    spec = replace(
        narrow(ports.policy, request),
        tools=(),
        allowed_tools=(),
        extras=False,
        max_turns=1,
        max_budget_usd=min(MAX_USD, ports.policy.max_budget_usd),
    )
    key = session_key(request.chat_id)
    name = uuid.uuid4().hex
    job = Job(f"doctor-{name}", key, request, spec)
    plan = SessionPlan(str(uuid.uuid4()), "new")
    claim = Claim(job, ports.owner, 1, 1, 1, False, SessionHead(key), plan, ports.clock.now())
    async with ports.checkouts.open(claim) as checkout:
        turn = Turn(
            job_id=job.job_id,
            session_key=key,
            prompt=QUESTION,
            spec=spec,
            session_id=plan.session_id,
            resume=False,
            seconds=SECONDS,
            cancelled=asyncio.Event(),
            fence=_nobody_else,
        )
        return await ports.agent.run(turn, checkout)


async def _nobody_else() -> None:
    """There is no lease to lose."""
