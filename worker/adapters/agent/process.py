"""The agent's process: which program, which environment."""

import asyncio
import os
import shutil
import sys
from collections.abc import Coroutine, Mapping
from importlib.resources import files
from pathlib import Path

import claude_agent_sdk

from worker.adapters.agent.sandbox import Sandbox

LAUNCHER_NAME = "agent-launcher"
PIDFILE = "launcher.pid"
LAUNCHER_MODULES = {"agent_confinement.py": "confinement.py", "agent_watch.py": "watch.py"}

FIXED_ENVIRONMENT: Mapping[str, str] = {
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    # A message has one turn and the process ends with it: what ran on in the background would be
    # killed. So subagents and commands run in the turn.
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    # Its only AWS identity is the one it is given: never the machine's.
    "AWS_EC2_METADATA_DISABLED": "true",
    "LANG": "C.UTF-8",
}

PASSED_FROM_WORKER = ("PATH", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
"""Variables of the worker that the agent may see: no names, no keys, no endpoints."""


def bundled_cli() -> Path:
    """The CLI inside the SDK's wheel; the two are released and tested as a pair."""
    cli = Path(claude_agent_sdk.__file__).with_name("_bundled") / "claude"
    if cli.is_file():
        return cli
    found = shutil.which("claude")
    if found is None:
        msg = "no Claude Code CLI: neither in the SDK's wheel nor as `claude` on PATH"
        raise FileNotFoundError(msg)
    return Path(found)


def install_launcher(folder: Path) -> Path:
    """Write the launcher as an executable of this interpreter; the SDK starts it as `cli_path`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    package = files("worker.adapters.agent")
    for name, module in LAUNCHER_MODULES.items():
        _replace(folder / name, package.joinpath(module).read_text(), 0o600)
    # -I and -S: no site packages, no PYTHON* variables; it also halves the start.
    launcher = package.joinpath("launcher.py").read_text()
    return _replace(folder / LAUNCHER_NAME, f"#!{sys.executable} -IS\n{launcher}", 0o700)


def _replace(target: Path, text: str, mode: int) -> Path:
    """Write a file as a whole: another worker may be starting it."""
    fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    return fresh.replace(target)


async def to_the_end(work: Coroutine[object, object, None]) -> None:
    """Await `work` however often the caller is cancelled meanwhile, and only then be cancelled.

    A drain may meet a lost lease: the second cancellation would end the SDK's farewell half-way,
    and the CLI would go on writing where the chat's files are being removed.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        raise cancelled
    task.result()


def agent_environment(
    directory: Path,
    project: str,
    model: Mapping[str, str],
    worker_environ: Mapping[str, str],
    max_retries: int,
    sandbox: Sandbox,
) -> dict[str, str]:
    """All that the agent's process sees. Everything else of the worker's environment is removed
    by the launcher, which is told the names to keep.
    """
    environment = {
        **{name: worker_environ[name] for name in PASSED_FROM_WORKER if name in worker_environ},
        **FIXED_ENVIRONMENT,
        "HOME": str(directory / "home"),
        "TMPDIR": str(directory / "tmp"),
        "CLAUDE_CODE_TMPDIR": str(directory / "tmp"),
        "CLAUDE_CONFIG_DIR": str(directory / "config"),
        "CLAUDE_CODE_PROJECT_DIR_NAME": project,
        "CLAUDE_CODE_MAX_RETRIES": str(max_retries),
        "BASH_MAX_OUTPUT_LENGTH": str(sandbox.limits.output_characters),
        **model,
    }
    cli = bundled_cli()
    return {
        **environment,
        "AGENT_LAUNCHER_PLAN": sandbox.plan(directory, cli, environment),
        "AGENT_LAUNCHER_CLI": str(cli),
        "AGENT_LAUNCHER_KEEP": ",".join(environment),
        "AGENT_LAUNCHER_WORKER": str(os.getpid()),
        "AGENT_LAUNCHER_PIDFILE": str(directory / PIDFILE),
    }
