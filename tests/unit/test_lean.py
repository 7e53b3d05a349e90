"""The SDK is imported without `mcp`, and everything else of it is as it was."""

import subprocess
import sys

CHECK = """
import sys
{before}
import worker.adapters.agent
import claude_agent_sdk
print("mcp" in sys.modules)
from mcp.types import Tool
print(Tool(name="t", input_schema={{}}).name)
{after}
"""


def run(before="", after=""):
    code = CHECK.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_sdk_comes_without_mcp_and_mcp_can_be_imported_afterwards():
    assert run() == ["False", "t"]


def test_where_mcp_is_imported_already_the_sdk_gets_it():
    assert run("import mcp", "print(claude_agent_sdk.ToolAnnotations().title)")[-1] == "None"


def test_a_version_that_needs_more_of_mcp_at_import_gets_it():
    before = (
        "import importlib, worker.adapters\n"
        "import_module = importlib.import_module\n"
        "def fails(name, *more, **named):\n"
        "    found = import_module(name, *more, **named)\n"
        "    if name == 'claude_agent_sdk':\n"
        "        raise TypeError(name)\n"
        "    return found\n"
        "importlib.import_module = fails"
    )
    assert run(before) == ["True", "t"]


def test_a_placeholder_that_is_used_says_what_to_do():
    after = (
        "try:\n"
        "    claude_agent_sdk.create_sdk_mcp_server('s', tools=[])\n"
        "    claude_agent_sdk.ToolAnnotations()\n"
        "except RuntimeError as exc:\n"
        "    print(exc)"
    )
    assert run("", after)[-3:] == ["import", "mcp", "first"]
