"""Known vulnerabilities of what a lock file installs: advisories.py PIP_AUDIT LOCK.

Exits with 1 when there is one, or when pip-audit failed in a way that is not the database's. A
database that cannot be reached, or that does not know the packages, is a skip and says so.
"""

import json
import subprocess
import sys
from dataclasses import dataclass

SECONDS = 120
AWAY = ("ConnectionError", "ProxyError", "NameResolution", "Timeout", "ServiceError")
"""Parts of what pip-audit says when its database does not answer."""
OPTIONS = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to print, and whether the audit has failed."""

    text: str
    failed: bool = False


def judge(status: int, output: str, errors: str) -> Verdict:
    """What a run of pip-audit means."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if any(part in errors for part in AWAY):
            return Verdict("SKIPPED: the advisory database cannot be reached from here")
        return Verdict(f"FAILED: pip-audit ended with {status}\n{errors[-2000:]}", failed=True)
    known = [package for package in packages if "skip_reason" not in package]
    found = [
        f"  {package['name']} {package['version']}: {flaw['id']}"
        f" (mended in {', '.join(flaw['fix_versions']) or 'no version'})"
        for package in known
        for flaw in package["vulns"]
    ]
    if found:
        return Verdict("\n".join([f"FOUND: {len(found)}", *found]), failed=True)
    if not known:
        return Verdict("SKIPPED: the advisory database here knows none of the packages")
    unknown = len(packages) - len(known)
    rest = f"; {unknown} SKIPPED, which the database here does not know" if unknown else ""
    return Verdict(f"none known in {len(known)} packages{rest}")


def main() -> int:
    tool, lock = sys.argv[1:]
    try:
        run = subprocess.run(  # noqa: S603 - a fixed argument list
            [tool, "--requirement", lock, *OPTIONS],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        verdict = Verdict(f"SKIPPED: the advisory database took more than {SECONDS} s")
    else:
        verdict = judge(run.returncode, run.stdout, run.stderr)
    print(f"vulnerabilities  {verdict.text}")
    return int(verdict.failed)


if __name__ == "__main__":
    sys.exit(main())
