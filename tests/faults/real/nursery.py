"""Forks worker processes from one that has imported everything: a worker starts in milliseconds.

Reads one JSON object a line: environ, log, trace, step, fault, seconds; answers with its pid. Its
workers end with it.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import boto3
from botocore.loaders import Loader

from tests.faults.process import LambdaService
from tests.faults.real.injector import Injector
from worker.bootstrap import build
from worker.entrypoints.host import serve

PR_SET_PDEATHSIG = 1
SLOTS = 1


class OnLambda(LambdaService):
    """The queue's own visibility timeout covers the invocation."""

    VISIBILITY_SECONDS = 15


def main():
    _warm()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_a_worker(order)
            return
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _warm():
    """Children are reaped by the kernel, and share what is read once."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    read, known = Loader.load_data_with_path, {}

    def shared(loader, name):
        if name not in known:
            known[name] = read(loader, name)
        return known[name]

    Loader.load_data_with_path = shared
    for service in ("sqs", "dynamodb", "s3", "sns", "events"):
        boto3.Session(region_name="us-east-1").client(service)


def _be_a_worker(order):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environ"])
    worker = build(threads=SLOTS * 3 + 8)
    worker = Injector(Path(order["trace"]), order["step"], order["fault"]).into(worker)
    if order["seconds"] is None:
        asyncio.run(serve(worker, SLOTS))
    else:
        asyncio.run(_invoke(worker, order["seconds"]))


async def _invoke(worker, seconds):
    worker.checkouts.clear()
    worker.ports.journal.note("started")
    service = OnLambda(worker, seconds)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.stop)
    await service.run()
    worker.aws.close()
    worker.ports.journal.note("stopped")


if __name__ == "__main__":
    main()
