"""`scripts/screens`: draw docs/screens anew; `--check` says whether they are up to date."""

import sys

from tests.screens.pictures import FOLDER, PICTURES, draw


def main() -> int:
    stale = []
    for name in PICTURES:
        path, svg = FOLDER / f"{name}.svg", draw(name)
        if not path.exists() or path.read_text() != svg:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(svg)
    print(f"changed: {', '.join(stale)}" if stale else "up to date")  # noqa: T201
    return int("--check" in sys.argv and bool(stale))


sys.exit(main())
