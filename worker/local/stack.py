"""The local stack: the AWS emulator, the worker's resources on it, and the scripted model.

`up` brings what is missing and writes the environment file of a worker; `down` ends it; `run`
does both around a wait. What runs is recorded in `stack.json` of the state folder.
"""

import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import worker
from worker.local.environment_file import (
    check_writable,
    environment_name,
    remove_environment_file,
    write_environment_file,
)
from worker.local.errors import LocalStackError
from worker.local.files import locked, write_private
from worker.local.ministack import ACCESS_KEY, REGION, Progress, install, silent, start
from worker.local.model_settings import real_model_settings, scripted_model_settings
from worker.local.processes import (
    LOOPBACK,
    Service,
    choose_port,
    log_tail,
    start_service,
    stop,
)

_EMULATOR = "ministack"
_MODEL = "scripted-model"
_WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """What `up` is asked for.

    `real`: use the model that the caller's environment gives access to. `auth`: producers must
    send a token (a random one, in the environment file). Port 0 means a free one.
    `emulator_environment`: where MiniStack is installed, in the state folder by default.
    """

    state_dir: Path
    template: Path
    env_file: Path
    real: bool = False
    auth: bool = False
    emulator_port: int = 0
    model_port: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    emulator_environment: Path | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack. `was_up`: everything ran already. `environment`: what the file says."""

    services: tuple[Service, ...]
    environment: Mapping[str, str]
    env_file: Path
    was_up: bool


@dataclass(slots=True)
class _State:
    """What `stack.json` records; of the services, those that are alive."""

    path: Path
    services: dict[str, Service] = field(default_factory=dict)
    auth_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    env_files: list[str] = field(default_factory=list)


def up(
    options: Options, environ: Mapping[str, str] = os.environ, progress: Progress = silent
) -> Stack:
    """Start what does not run yet and write the environment file. What it starts outlives it.

    Raises:
        LocalStackError: with the reason; what this call had started is ended again.
    """
    check_writable(options.env_file)
    real_model = real_model_settings(environ) if options.real else None
    state_dir = options.state_dir.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    started: list[str] = []
    with locked(state_dir / "stack.lock"):
        state = _load(state_dir)
        try:
            for name, start_it in _wanted(options, state_dir, progress).items():
                if name not in state.services:
                    progress(f"starting {name}")
                    state.services[name] = start_it()
                    started.append(name)
                    _save(state)
            environment = _environment(options, state, state_dir, real_model)
            write_environment_file(options.env_file, environment)
            state.env_files = sorted({*state.env_files, str(options.env_file.resolve())})
        except BaseException:
            for name in reversed(started):
                stop(state.services.pop(name))
            _save(state)
            raise
        _save(state)
    return Stack(tuple(state.services.values()), environment, options.env_file, not started)


def down(state_dir: Path) -> tuple[str, ...]:
    """End the services that run, remove the environment files; return the services' names."""
    state_dir = state_dir.resolve()
    if not (state_dir / "stack.json").exists():
        return ()
    with locked(state_dir / "stack.lock"):
        state = _load(state_dir)
        ended = [service.name for service in reversed(state.services.values()) if stop(service)]
        for path in state.env_files:
            remove_environment_file(Path(path))  # it may hold keys, and leads nowhere now
        state.path.unlink(missing_ok=True)
    return tuple(ended)


def run(
    options: Options,
    on_ready: Callable[[Stack], None],
    environ: Mapping[str, str] = os.environ,
    progress: Progress = silent,
) -> None:
    """`up`, then wait for SIGINT or SIGTERM, then `down`. To be called from the main thread.

    A stack that was up already is left up, and this returns at once.

    Raises:
        LocalStackError: `up` failed, or a service ended by itself.
    """
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stack = up(options, environ, progress)
        try:
            on_ready(stack)
            while not stack.was_up:
                _check(stack)
                time.sleep(_WATCH_SECONDS)
        finally:
            if not stack.was_up:
                progress("stopping")
                down(options.state_dir)
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        signal.signal(signal.SIGTERM, previous)


def _wanted(
    options: Options, state_dir: Path, progress: Progress
) -> dict[str, Callable[[], Service]]:
    """How to start each service that `options` ask for."""

    def emulator() -> Service:
        python = install(options.emulator_environment or state_dir / "ministack-env", progress)
        log = state_dir / f"{_EMULATOR}.log"
        return start(state_dir / _EMULATOR, python, port=options.emulator_port, log=log)

    def model() -> Service:
        return _start_model(state_dir, options.model_port)

    return {_EMULATOR: emulator} if options.real else {_EMULATOR: emulator, _MODEL: model}


def _start_model(state_dir: Path, port: int) -> Service:
    port = choose_port("the scripted model", port)
    return start_service(
        _MODEL,
        [sys.executable, "-m", "worker.local.model", "--port", str(port)],
        env={"PATH": os.defpath, "PYTHONPATH": str(Path(worker.__path__[0]).parent)},
        cwd=state_dir,
        log=state_dir / f"{_MODEL}.log",
        url=f"http://{LOOPBACK}:{port}",
        health="/_scripted/health",
    )


def _environment(
    options: Options, state: _State, state_dir: Path, real_model: Mapping[str, str] | None
) -> dict[str, str]:
    """The settings of a worker of this stack."""
    from worker.local.resources import ensure_stack  # noqa: PLC0415 - boto3 takes its time

    endpoint = state.services[_EMULATOR].url
    outputs = ensure_stack(endpoint, options.template, options.parameters)
    work = state_dir / "work"
    work.mkdir(exist_ok=True)
    if options.auth:
        access = {"AUTH_MODE": "token", "SDK_CLIENT_AUTH_TOKEN": state.auth_token}
    else:
        access = {"AUTH_MODE": "open"}
    if real_model is None:
        real_model = scripted_model_settings(state.services[_MODEL].url)
    return {
        **{environment_name(name): value for name, value in outputs.items()},
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        **access,
        **real_model,
        "AGENT_TOOLS": "Read,Write,Edit,Glob,Grep,Bash",  # Bash is off unless it is asked for
        "WORK_DIR": str(work),
        "WEBHOOK_ALLOW_LOOPBACK": "1",  # subscribers on this machine, over http
        "POWERTOOLS_TRACE_DISABLED": "true",
    }


def _check(stack: Stack) -> None:
    for service in stack.services:
        if not service.is_alive():
            raise LocalStackError(f"{service.name} ended by itself:\n{log_tail(service)}")


def _load(state_dir: Path) -> _State:
    path = state_dir / "stack.json"
    if not path.exists():
        return _State(path)
    recorded = json.loads(path.read_text())
    services = [Service(**service) for service in recorded["services"]]
    return _State(
        path,
        {service.name: service for service in services if service.is_alive()},
        recorded["auth_token"],
        recorded["env_files"],
    )


def _save(state: _State) -> None:
    recorded = {
        "services": [asdict(service) for service in state.services.values()],
        "auth_token": state.auth_token,
        "env_files": state.env_files,
    }
    write_private(state.path, json.dumps(recorded, indent=2) + "\n")
