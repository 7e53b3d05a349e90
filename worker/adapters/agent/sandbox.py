"""How far the agent's process is confined here: the plan that its launcher carries out."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from worker.adapters.agent.confinement import landlock_version

MEBIBYTE = 1024 * 1024

SYSTEM_PATHS = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr", "/etc", "/opt", "/nix/store"),
    *("/proc", "/sys", "/dev", "/run/systemd/resolve", "/var/lang", "/var/task", "/var/runtime"),
)
"""What programs need to read of a Linux system: no home, no /tmp, no /run, no /var besides."""

OWN_FOLDERS = ("workspace", "home", "tmp", "config")
"""The agent's part of a chat's directory; the rest of it is the worker's."""

PROCESS_MARGIN = 256
"""Threads of the CLI itself, which the kernel counts like processes."""

NAME_SERVICE_PORT = 53


@dataclass(frozen=True)
class Limits:
    """What the tools of one turn may take together; a file, descriptors and seconds of CPU for
    each process. 0 is no limit.
    """

    processes: int = 256
    memory_mb: int = 1024
    disk_mb: int = 2048
    file_mb: int = 1024
    open_files: int = 4096
    cpu_seconds: int = 3600
    output_characters: int = 30_000
    """Of a command's output that the model gets to see; the CLI's own limit."""

    def of_each_process(self) -> dict[str, int]:
        """By names of the module `resource`."""
        limits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_FSIZE": self.file_mb * MEBIBYTE,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_NPROC": self.processes and self.processes + PROCESS_MARGIN,
        }
        return {name: limit for name, limit in limits.items() if limit or name == "RLIMIT_CORE"}


@dataclass(frozen=True)
class Sandbox:
    """`mode` "auto" uses Landlock where the kernel has it, "require" works nowhere else, and "off"
    never uses it. `readable` and `writable` are paths besides those every agent gets; `ports` are
    TCP ports that it may connect to, None: any.
    """

    mode: Literal["auto", "require", "off"] = "auto"
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    ports: tuple[int, ...] | None = (443,)
    limits: Limits = field(default_factory=Limits)

    @property
    def landlock(self) -> int:
        """Version of Landlock in use; 0: none."""
        return 0 if self.mode == "off" else landlock_version()

    def plan(self, directory: Path, cli: Path, environment: Mapping[str, str]) -> str:
        """For one chat's directory, as JSON. Its owner is the user that the agent gets."""
        owner = (directory / "workspace").stat().st_uid
        own = [str(directory / name) for name in OWN_FOLDERS]
        return json.dumps(
            {
                "uid": None if owner == os.geteuid() else owner,
                "powerless": self.mode != "off",
                "limits": self.limits.of_each_process(),
                "paths": self._paths(own, cli, environment) if self.landlock else None,
                "ports": self._ports(environment),
                "watch": {
                    "processes": self.limits.processes,
                    "memory_mb": self.limits.memory_mb,
                    "disk_mb": self.limits.disk_mb,
                    "folders": own,
                },
            }
        )

    def _paths(
        self, own: Sequence[str], cli: Path, environment: Mapping[str, str]
    ) -> dict[str, Any]:
        programs = [sys.prefix, sys.base_prefix, str(cli.resolve().parent)]
        certificates = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
        named = [environment[name] for name in certificates if name in environment]
        on_path = [part for part in environment.get("PATH", "").split(":") if part.startswith("/")]
        return {
            "readable": [*SYSTEM_PATHS, *programs, *on_path, *named, *self.readable],
            "writable": [*own, *self.writable],
        }

    def _ports(self, environment: Mapping[str, str]) -> list[int] | None:
        if self.ports is None:
            return None
        urls = ("ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL")
        model = {port_of(environment[name]) for name in urls if name in environment}
        return sorted({NAME_SERVICE_PORT, *self.ports, *model})


def port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (80 if parts.scheme == "http" else 443)
