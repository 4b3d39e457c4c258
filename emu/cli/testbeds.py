"""Which testbed a command is for: the one named by -t or EMU_TESTBED, else the only one there is."""

from __future__ import annotations

import os

from emu.cli.client import Client
from emu.errors import InputError
from emu.kernel import runtime_dir


def chosen(name: str = "") -> str:
    name = name or os.environ.get("EMU_TESTBED", "")
    if name:
        return name
    names = [each.name for each in runtime_dir.running(runtime_dir.runtime_directory())]
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError("no testbed is running", hint="emu up topologies/two-node-flannel-vxlan")
    raise InputError(
        f"{len(names)} testbeds are running: {', '.join(names)}", hint="choose one with -t NAME, or set EMU_TESTBED"
    )


def client(name: str = "", timeout_s: float | None = None) -> Client:
    return Client(chosen(name), runtime_dir.runtime_directory(), timeout_s)
