"""The licences of everything that the image installs, as a page: licences.py PAGE [--check]."""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements" / "lambda.txt"
HEAD = """# Licences

What [requirements/lambda.txt](../requirements/lambda.txt) installs, and so the image. Written by
`scripts/audit --licences` from the packages' own metadata; `scripts/audit` checks it.

| package | licence |
|---|---|
"""


def licence(found: Distribution) -> str:
    meta = found.metadata
    if expression := meta.get("License-Expression"):
        return expression
    classified = [
        name.rpartition("::")[2].strip()
        for name in meta.get_all("Classifier") or []
        if name.startswith("License ::")
    ]
    given = (meta.get("License") or "").strip().splitlines()
    return ", ".join(classified) or (given[0][:60] if given else "see the package")


def page() -> str:
    names = re.findall(r"^([A-Za-z0-9._-]+)==", LOCK.read_text(), re.MULTILINE)
    rows = []
    for name in sorted(set(names), key=str.lower):
        try:
            rows.append(f"| {name} | {licence(distribution(name))} |")
        except PackageNotFoundError:
            continue  # of another platform
    return HEAD + "\n".join(rows) + "\n"


def main() -> int:
    target, text = Path(sys.argv[1]), page()
    if "--check" not in sys.argv:
        target.write_text(text)
        return 0
    if target.is_file() and target.read_text() == text:
        return 0
    print(f"{target} is out of date; run scripts/audit --licences", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
