"""`scripts/mutate [NAME ...]`: which guarantees have a test that notices when they are broken."""

import argparse
import sys
import time

from tests.mutation.catalogue import MUTATIONS
from tests.mutation.laboratory import Outcome, UnsoundTestsError, Verdict, experiment


def main() -> int:
    """Exit status: 0 every mutation was killed, 1 not, 2 the tests fail without a mutation."""
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("name", nargs="*", metavar="NAME", help="only these mutations")
    parser.add_argument("--fast", action="store_true", help="those that need no emulator and CLI")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    arguments = parser.parse_args()
    if unknown := set(arguments.name) - {mutation.name for mutation in MUTATIONS}:
        parser.error(f"no mutation is called {', '.join(sorted(unknown))}; --list prints the names")
    chosen = [
        mutation
        for mutation in MUTATIONS
        if (not arguments.name or mutation.name in arguments.name)
        and not (arguments.fast and mutation.real)
    ]
    if arguments.list:
        _say("\n".join(mutation.name for mutation in chosen))
        return 0
    began = time.monotonic()
    _tell(f"{len(chosen)} mutations; first their tests without any")
    try:
        outcomes = experiment(
            chosen, lambda outcome: _tell(f"{outcome.verdict.value:<9} {outcome.mutation.name}")
        )
    except UnsoundTestsError as exc:
        _tell(str(exc))
        return 2
    _say(table(outcomes))
    survivors = [outcome for outcome in outcomes if outcome.verdict is not Verdict.KILLED]
    _say(
        f"{len(outcomes) - len(survivors)} of {len(outcomes)} mutations were killed "
        f"in {time.monotonic() - began:.0f} s"
    )
    return 1 if survivors else 0


def table(outcomes: list[Outcome]) -> str:
    """One line a mutation."""
    rows = [("mutation", "guarantee", "killed by")]
    for outcome in outcomes:
        killed = outcome.verdict is Verdict.KILLED
        detail = outcome.detail if killed else f"{outcome.verdict.name}: {outcome.detail}"
        rows.append((outcome.mutation.name, outcome.mutation.guarantee, detail))
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{row[0]:<{first}}  {row[1]:<{second}}  {row[2]}" for row in rows)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
