"""How far the agent's process is confined: a part of the worker's settings."""

from typing import Literal

from pydantic import BaseModel, Field

from worker.setting_types import Names


class SandboxSettings(BaseModel):
    """Settings of the agent's process. A limit of 0 is no limit; sizes are in MiB."""

    agent_sandbox: Literal["auto", "require", "off"] = Field(
        "auto", description="Landlock: where the kernel has it, always, or never"
    )
    agent_uid: int = Field(
        20_000, ge=0, description="first of the user ids that chats get; 0: the worker's own"
    )
    agent_readable: Names = Field((), description="paths that the agent may read, besides")
    agent_writable: Names = Field((), description="paths that the agent may change, besides")
    agent_connect_ports: Names = Field(
        ("443",), description="TCP ports that the agent may connect to, besides its model's"
    )
    agent_max_processes: int = Field(256, ge=0, description="of a turn's tools, together")
    agent_max_memory_mb: int = Field(1024, ge=0, description="of a turn's tools, together")
    agent_max_disk_mb: int = Field(2048, ge=0, description="of a chat's directory")
    agent_max_file_mb: int = Field(1024, ge=0, description="of one file")
    agent_max_open_files: int = Field(4096, ge=0, description="of a process")
    agent_max_cpu_seconds: int = Field(3600, ge=0, description="of a process")
    agent_max_output_characters: int = Field(
        30_000, ge=1000, description="of a command's output that the model sees"
    )

    @property
    def connect_ports(self) -> tuple[int, ...] | None:
        """None: any."""
        if "*" in self.agent_connect_ports:
            return None
        return tuple(int(port) for port in self.agent_connect_ports)

    def sandbox_problems(self) -> list[str]:
        """One line each."""
        problems = [
            f"AGENT_CONNECT_PORTS: {port!r} is not a TCP port; list numbers, or * for any"
            for port in self.agent_connect_ports
            if port != "*" and not (port.isdecimal() and 0 < int(port) < 65_536)  # noqa: PLR2004 - TCP
        ]
        problems += [
            f"{name}: {path!r} is not an absolute path"
            for name, paths in (
                ("AGENT_READABLE", self.agent_readable),
                ("AGENT_WRITABLE", self.agent_writable),
            )
            for path in paths
            if not path.startswith("/")
        ]
        return problems
