"""This machine: its clock, its disk, the agent's CLI, and who it is to AWS."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

from claude_agent_sdk._cli_version import __cli_version__ as wanted_version

from worker.adapters.agent.process import FIXED_ENVIRONMENT, bundled_cli
from worker.operations.doctor.finding import Finding, ok, problem, unchecked, warning
from worker.operations.doctor.probe import Caller, ask

CLOCK, IDENTITY, DISK, CLI = "clock", "AWS identity", "disk", "agent's CLI"

SKEW_WARNING_SECONDS = 15.0
SKEW_PROBLEM_SECONDS = 60.0
"""Leases are compared between machines by their clocks: a worker that is a minute off takes a chat
away from another one while it still has it, though the fence then decides. AWS refuses requests
that are five minutes off."""

FREE_MARGIN_BYTES = 512 * 1024 * 1024
"""Room beside the workspace: the transcript, segments, the CLI's own files."""

MEBIBYTE = 1024 * 1024


async def examine_aws_access(aws: Caller, now: float | None = None) -> list[Finding]:
    """Who this is to AWS, and how far the clocks are apart. `now` is this machine's time."""
    outcome = await ask(aws, "sts", "get_caller_identity")
    if outcome.kind != "answer":
        return [
            problem(
                IDENTITY,
                "identity",
                f"AWS does not say who this is: {outcome.text}",
                "check the AWS_* credentials or the role, AWS_REGION, and the network",
            )
        ]
    found = [ok(IDENTITY, "identity", str(outcome.answer.get("Arn")))]
    headers = outcome.answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return [*found, _skew(headers.get("date"), time.time() if now is None else now)]


def _skew(date: str | None, now: float) -> Finding:
    if date is None:
        return unchecked(CLOCK, "skew", "AWS's answer tells no time")
    skew = now - parsedate_to_datetime(date).timestamp()
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS"
    remedy = "have the machine's clock set by NTP (chrony, systemd-timesyncd)"
    if abs(skew) > SKEW_PROBLEM_SECONDS:
        return problem(CLOCK, "skew", text, remedy)
    if abs(skew) > SKEW_WARNING_SECONDS:
        return warning(CLOCK, "skew", text, remedy)
    return ok(CLOCK, "skew", "agrees with AWS's")


async def examine_disk(work_dir: Path, workspace_mb: int) -> list[Finding]:
    """WORK_DIR: is it writable, may programs run from it, is there room."""
    return await asyncio.to_thread(_disk, work_dir, workspace_mb)


def _disk(work_dir: Path, workspace_mb: int) -> list[Finding]:
    remedy = "set WORK_DIR to a folder that the worker may write to and run programs from"
    try:
        work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=work_dir, prefix="doctor-") as folder:
            program = Path(folder) / "program"
            program.write_text("#!/bin/sh\nexit 0\n")
            program.chmod(0o700)
            runs = subprocess.run([program], check=False, timeout=30).returncode == 0  # noqa: S603 - just written
    except PermissionError as exc:
        return [problem(DISK, "writable", f"{work_dir}: {exc.strerror}", remedy)]
    except (OSError, subprocess.SubprocessError) as exc:
        return [problem(DISK, "writable", f"{work_dir}: {exc}", remedy)]
    found = [
        ok(DISK, "writable", f"{work_dir} can be written to, and programs run from it")
        if runs
        else problem(DISK, "writable", f"no program runs from {work_dir} (noexec)", remedy)
    ]
    free = shutil.disk_usage(work_dir).free
    needed = workspace_mb * MEBIBYTE + FREE_MARGIN_BYTES
    text = f"{free // MEBIBYTE} MiB free at {work_dir}"
    if free >= needed:
        return [*found, ok(DISK, "room", text)]
    return [
        *found,
        problem(
            DISK,
            "room",
            f"{text}; a chat may need {needed // MEBIBYTE} (MAX_WORKSPACE_MB and what is beside)",
            "free some, move WORK_DIR, or lower MAX_WORKSPACE_MB",
        ),
    ]


async def examine_cli() -> list[Finding]:
    """The CLI: is it there, does it run, is it the one that the SDK was built with."""
    return [await asyncio.to_thread(_cli)]


def _cli() -> Finding:
    remedy = "install claude-agent-sdk from its wheel for this platform, which has the CLI in it"
    try:
        cli = bundled_cli()
    except FileNotFoundError as exc:
        return problem(CLI, "version", str(exc), remedy)
    with tempfile.TemporaryDirectory() as home:
        environ = {
            **FIXED_ENVIRONMENT,
            "PATH": os.defpath,
            "HOME": home,
            "CLAUDE_CONFIG_DIR": home,
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        }
        try:
            done = subprocess.run(  # noqa: S603 - the CLI of the SDK
                [cli, "--version"],
                env=environ,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            return problem(CLI, "version", f"{cli} does not run: {exc}", remedy)
    version = (done.stdout.split() or [""])[0]
    if not version:
        said = done.stderr.strip()[:300] or f"exit status {done.returncode}"
        return problem(CLI, "version", f"{cli} does not run: {said}", remedy)
    if version != wanted_version:
        return problem(
            CLI,
            "version",
            f"{cli} is version {version}, and the SDK was built with {wanted_version}",
            remedy,
        )
    return ok(CLI, "version", f"{version}, as the SDK was built with")
