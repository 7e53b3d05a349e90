"""Fails unless `claude` on PATH is the CLI that the installed SDK was built with.

The two talk a private protocol, so a pair that was not released together may break at any turn.
The image build runs this, and scripts/lint-image does.
"""

# ruff: noqa: INP001, T201 - a script of the image build: it prints, and is in no package

import os
import shutil
import subprocess
import sys
import tempfile

from claude_agent_sdk._cli_version import __cli_version__ as wanted


def main() -> int:
    claude = shutil.which("claude")
    if claude is None:
        print("claude: is not on PATH; link it to the CLI in the SDK's wheel", file=sys.stderr)
        return 1
    found = version_of(claude)
    if found != wanted:
        print(
            f"{claude}: is version {found!r}, and the SDK was built with {wanted!r}; "
            "link it to the CLI in the SDK's wheel",
            file=sys.stderr,
        )
        return 1
    print(f"{claude}: {found}, as the SDK was built with")
    return 0


def version_of(claude: str) -> str:
    """The first word of `claude --version`, started in an environment that reaches nothing."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(  # noqa: S603 - a program of this image
            [claude, "--version"],
            env={
                "PATH": os.defpath,
                "HOME": home,
                "CLAUDE_CONFIG_DIR": home,
                "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
                "ANTHROPIC_API_KEY": "none",
                "DISABLE_AUTOUPDATER": "1",
                "DISABLE_TELEMETRY": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    words = done.stdout.split()
    return words[0] if words else f"(no version: {done.stderr.strip() or done.returncode})"


if __name__ == "__main__":
    sys.exit(main())
