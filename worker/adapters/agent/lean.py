"""Imports the agent SDK without `mcp` and `jsonschema`, which are most of its import time.

The SDK needs both for MCP servers that live inside this process. A profile's servers are
processes and addresses, which the CLI itself talks to, so the worker has none. While the SDK is
imported, placeholders stand for the names that it takes from them; afterwards they can be imported
as usual. A placeholder that is used says so. Should another version of the SDK need more of them at
import, it gets the real ones.
"""

import contextlib
import importlib
import sys
from types import ModuleType
from typing import Any

SDK, MCP = "claude_agent_sdk", "mcp"
STOOD_FOR = (
    "jsonschema",
    "mcp",
    "mcp.server",
    "mcp.shared",
    "mcp.shared.memory",
    "mcp.shared.message",
    "mcp.types",
)


class _Placeholder(ModuleType):
    """A module whose every public name is a class that cannot be made."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)

        def refuse(*_arguments: object, **_options: object) -> None:
            msg = f"{self.__name__}.{name}: the SDK was imported without {MCP}; import {MCP} first"
            raise RuntimeError(msg)

        def subclassed(_class: type, /, **_options: object) -> None:
            """Any class arguments will do."""

        body: dict[str, Any] = {"__init__": refuse}
        body["__init_subclass__"] = classmethod(subclassed)
        found = type(name, (), body)
        setattr(self, name, found)
        return found


def import_sdk() -> None:
    """Import it, unless it is there or `mcp` is."""
    if SDK in sys.modules or MCP in sys.modules:
        return
    for name in STOOD_FOR:
        if name in sys.modules:
            continue
        module = _Placeholder(name)
        module.__path__ = []  # a package, whose other modules are not there
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    try:
        with contextlib.suppress(Exception):
            importlib.import_module(SDK)
            return
        for name in [name for name in sys.modules if name.partition(".")[0] == SDK]:
            del sys.modules[name]
    finally:
        for name in STOOD_FOR:
            if isinstance(sys.modules.get(name), _Placeholder):
                del sys.modules[name]


import_sdk()
