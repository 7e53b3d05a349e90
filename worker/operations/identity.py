"""Who acts."""

import getpass
import os


def user_name() -> str:
    """The user of this machine; a container's may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
