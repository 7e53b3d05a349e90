"""What a hostile model has its tools do to the machine. Each attack ends by itself: at most 150
processes, 600 MiB of memory, 400 MiB of disk, a gigabyte of output, twenty seconds.

hostile.py ATTACK [WORKER_PID]; prints how far it got.
"""

import os
import signal
import subprocess
import sys
import time

MEBIBYTE = 1024 * 1024


def many_processes():
    """150 processes, each alive for 15 seconds, as a fork bomb that stops there."""
    started = []
    try:
        for _ in range(150):
            started.append(  # noqa: PERF401 - each counts
                subprocess.Popen(["sleep", "15"], stdout=subprocess.DEVNULL)
            )
    except OSError as exc:
        return f"stopped at {len(started)}: {exc.strerror}"
    time.sleep(1.5)
    alive = sum(process.poll() is None for process in started)
    for process in started:
        process.kill()
    return f"succeeded: {alive} alive"


def much_memory():
    held = []
    for _ in range(12):
        held.append(bytearray(b"x" * (50 * MEBIBYTE)))
        time.sleep(0.1)
    time.sleep(1.5)
    return f"succeeded: {sum(map(len, held)) // MEBIBYTE} MiB"


def full_disk():
    names = [f"junk-{n}" for n in range(20)]
    try:
        for name in names:
            with open(name, "wb") as file:
                file.write(b"x" * (20 * MEBIBYTE))
            time.sleep(0.05)
        time.sleep(1.5)
        return "succeeded: 400 MiB"
    finally:
        for name in names:
            if os.path.exists(name):
                os.unlink(name)


def large_file():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with open("large", "wb") as file:
            file.writelines(b"x" * MEBIBYTE for _ in range(100))
    except OSError as exc:
        return f"stopped: {exc.strerror}"
    finally:
        os.unlink("large")
    return "succeeded: 100 MiB"


def many_open_files():
    held = []
    try:
        for _ in range(500):
            held.append(open("/dev/null", "rb"))  # noqa: SIM115, PERF401 - on purpose
    except OSError as exc:
        return f"stopped: {exc.strerror}"
    return "succeeded: 500"


def much_cpu():
    end = time.monotonic() + 20
    while time.process_time() < 4 and time.monotonic() < end:
        pass
    return "succeeded: 4 s"


def much_output():
    """The CLI keeps a command's output in a file and shows the model its beginning, so what came of
    it is left in a file, too."""
    line = b"x" * 1023 + b"\n"
    for _ in range(1024):
        os.write(1, line * 1024)
    with open("outcome", "w") as file:
        file.write("succeeded: 1 GiB")
    return ""


def never_end():
    time.sleep(12)
    return "succeeded: 12 s"


def kill_ancestors():
    """SIGKILL to the CLI, the launcher and the worker, and to nothing above that."""
    worker = int(sys.argv[2])
    chain = [os.getpid()]
    while chain[-1] != worker and chain[-1] > 1:
        with open(f"/proc/{chain[-1]}/stat", "rb") as stat:
            chain.append(int(stat.read().rpartition(b")")[2].split()[1]))
    assert chain[-1] == worker
    for pid in reversed(chain[1:]):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
    return "succeeded"


if __name__ == "__main__":
    print(globals()[sys.argv[1]]())
