"""A terminal for programs under test: a pty, and a screen that a test can read."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pyte


class _Screen(pyte.HistoryScreen):
    """Answers the program's questions, such as for the cursor's position, as a terminal does."""

    def __init__(self, columns, lines, answer):
        super().__init__(columns, lines, history=10_000)
        self.write_process_input = answer


class Terminal:
    """A program in a terminal of 80 columns; `with` ends it."""

    def __init__(self, argv, env, columns=80, lines=40):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen = _Screen(columns, lines, lambda text: os.write(self._master, text.encode()))
        self._stream = pyte.ByteStream(self._screen)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *argv],
            env={**env, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        os.close(self._master)

    def type(self, line):
        """A line and Enter."""
        os.write(self._master, f"{line}\r".encode())

    def press(self, key):
        os.write(self._master, key.encode())

    def text(self):
        """All that was ever on the screen, as it looks now."""
        past = [
            "".join(line[column].data for column in range(self._screen.columns)).rstrip()
            for line in self._screen.history.top
        ]
        return "\n".join([*past, *(line.rstrip() for line in self._screen.display)]).rstrip()

    def until(self, pattern, seconds=60):
        """Wait until the text matches; returns the match."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text(), re.MULTILINE)):
            assert time.monotonic() < deadline, f"{pattern!r} is not there:\n{self.text()}"
            assert self._read(), f"it ended without {pattern!r}:\n{self.text()}"
        return found

    def end(self, seconds=60):
        """Wait until the program has ended; returns its exit status."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, f"it does not end:\n{self.text()}"
        return self.process.wait(seconds)

    def _read(self):
        """Take what the program has written; False once it has ended and nothing is left."""
        ready, _, _ = select.select([self._master], [], [], 0.05)
        if not ready:
            return self.process.poll() is None
        try:
            written = os.read(self._master, 65536)
        except OSError:  # Linux: nobody has the other end open any more
            return False
        self._stream.feed(written)
        return bool(written)
