"""`scripts/demo`: what is asked for, and how it ends."""

import argparse
import io
import signal
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from contracts import ContractError
from worker.local.demo.claims import ClaimError
from worker.local.demo.machine import machine
from worker.local.demo.screen import Screen
from worker.local.demo.subscriber import Subscriber
from worker.local.demo.tour import Tour
from worker.local.errors import LocalStackError

_STATE_DIR = Path(".agent-worker/demo")
_EMULATOR_ENVIRONMENT = Path(".agent-worker/ministack-env")  # the one of `agent-worker up`
_INTERRUPTED = 130


def main() -> int:
    """Exit status: 0 all as claimed, 1 not (the last lines say what), 130 interrupted."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=_STATE_DIR, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a character
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    screen = Screen()
    try:
        _run(screen, arguments.state_dir)
    except KeyboardInterrupt:
        screen.end_line()
        screen.note("interrupted: everything that the demo started is ended")
        return _INTERRUPTED
    except (ClaimError, ContractError, LocalStackError) as exc:
        screen.failure(str(exc), arguments.state_dir)
        return 1
    except (BotoCoreError, ClientError) as exc:
        screen.failure(f"the local stack does not do its work: {exc}", arguments.state_dir)
        return 1
    return 0


def _run(screen: Screen, state_dir: Path) -> None:
    screen.title()
    with (
        machine(state_dir, _EMULATOR_ENVIRONMENT, screen.progress) as running,
        Subscriber(running.topic, running.client, screen.event) as subscriber,
    ):
        Tour(running, screen, subscriber).run()
        screen.what_next()
    screen.note("everything that the demo started is ended")


if __name__ == "__main__":
    sys.exit(main())
