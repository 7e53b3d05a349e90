"""`scripts/ticketbot`: TicketBot on the stack of the environment, or on one of its own."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from worker.local.demo.machine import machine
from worker.local.errors import LocalStackError

_BOT = Path(__file__).parents[2] / "examples" / "ticketbot.py"
_STATE_DIR = Path(".agent-worker/ticketbot")
_EMULATOR_ENVIRONMENT = Path(".agent-worker/ministack-env")  # the one of `agent-worker up`
_LOCAL = """\
QUEUE_URL is not set, so this runs on a stack of its own. A scripted model
answers, by fixed rules: try `my name is Ada`, `what is my name`, `run ls`;
`help` tells all."""


def main() -> int:
    """Exit status: that of the bot, 1 when no stack could be started, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="scripts/ticketbot", description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=_STATE_DIR, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.environ.get("QUEUE_URL"):
        return _chat(os.environ)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.stdout.write(_LOCAL + "\n")
        with machine(arguments.state_dir, _EMULATOR_ENVIRONMENT, _progress) as running:
            return _chat({**os.environ, **running.settings})
    except KeyboardInterrupt:
        return 130
    except LocalStackError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1


def _progress(text: str) -> None:
    sys.stdout.write(f"{text} ...\n")
    sys.stdout.flush()


def _chat(environ: Mapping[str, str]) -> int:
    """Run the bot to its end. It has the terminal, and so Ctrl-C; other signals are passed on."""
    bot = subprocess.Popen([sys.executable, _BOT], env=dict(environ))

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        bot.terminate()

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    signal.signal(signal.SIGINT, lambda *_: None)
    return bot.wait()


if __name__ == "__main__":
    sys.exit(main())
