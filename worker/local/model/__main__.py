"""`python -m worker.local.model --port N`: serve until SIGINT or SIGTERM.

Prints one JSON line, {"url": ...}, when it accepts connections.
"""

import argparse
import json
import sys

from worker.local.model.recorder import Recorder
from worker.local.model.server import LOOPBACK, listen, server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.local.model", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0: a free one")
    port = parser.parse_args().port
    try:
        listener = listen(port)
    except OSError as exc:
        sys.stderr.write(f"the scripted model cannot listen on {LOOPBACK}:{port}: {exc}\n")
        return 1
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    sys.stdout.write(json.dumps({"url": address}) + "\n")
    sys.stdout.flush()
    server(Recorder()).run([listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
