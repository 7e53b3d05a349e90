"""`scripts/soak`: does the system keep its promises while its workers are killed and frozen?"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.soak.audit import Findings
from tests.soak.course import Plan, run
from worker.local.errors import LocalStackError

_INTERRUPTED = 130
_SHOWN = 10


def main() -> int:
    """Exit status: 0 all promises kept, 1 not, 2 it could not run, 130 interrupted."""
    plan = _plan()
    as_json, keep = plan.pop("json"), plan.pop("keep")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        findings = run(Plan(**plan), folder)
    except LocalStackError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        sys.stderr.write("\ninterrupted: everything that the soak started is ended\n")
        return _INTERRUPTED
    sys.stdout.write(f"{json.dumps(asdict(findings), indent=2) if as_json else table(findings)}\n")
    if keep or not findings.good:
        sys.stderr.write(f"logs, evidence and restored chats: {folder}\n")
    else:
        shutil.rmtree(folder)
    return 0 if findings.good else 1


def table(findings: Findings) -> str:
    """Figures, then violations by kind, then what they are."""
    rows = {
        **findings.figures,
        **{kind: str(len(told)) for kind, told in findings.violations.items()},
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {figure}" for name, figure in rows.items()]
    for kind, told in findings.violations.items():
        lines += [f"{kind}: {text}" for text in told[:_SHOWN]]
        if len(told) > _SHOWN:
            lines.append(f"{kind}: and {len(told) - _SHOWN} more; --json prints all")
    return "\n".join(lines)


def _plan() -> dict[str, object]:
    defaults = Plan()
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    helps = {
        "jobs": "different jobs; repeats, and one question to each chat, come on top",
        "chats": "conversations they are spread over",
        "workers": "worker processes",
        "kill_every": "seconds between two misfortunes, on average",
        "minutes": "after which nothing is sent and nobody harmed any more",
        "lease": "LEASE_SECONDS of the workers",
        "seed": "of what is sent and of what happens; the times are not repeatable",
    }
    for name, text in helps.items():
        default = getattr(defaults, name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, metavar="N", help=text)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a good run, too")
    return vars(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
