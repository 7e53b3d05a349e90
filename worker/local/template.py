"""Where the definitions of the worker's resources are: one file, deployed and used locally."""

from pathlib import Path

import worker
from worker.local.errors import LocalStackError

_PACKAGE = Path(worker.__path__[0])


def resources_template() -> Path:
    """infra/resources.yml of the checkout, or the copy that an installed package carries.

    Raises:
        LocalStackError: neither is there.
    """
    for path in (_PACKAGE.parent / "infra" / "resources.yml", _PACKAGE / "local" / "resources.yml"):
        if path.is_file():
            return path
    raise LocalStackError(
        f"infra/resources.yml was not found beside {_PACKAGE}: "
        "run from a checkout, or install the package again"
    )
