"""What the lab's process does: bring the testbed up, say so, serve until told to end."""

from __future__ import annotations

import gc
import logging
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from emu.api.load import Loaded
from emu.api.objects import key_of
from emu.api.topology import Topology
from emu.cluster import capacity
from emu.cluster.nodes import families
from emu.kernel import syscalls
from emu.kernel.sandbox import Sandbox
from emu.planners import pods
from emu.testbed.facade import Testbed
from emu.testbed.host import Host

log = logging.getLogger(__name__)

# Of 1,000 Pods there are 200,000 values, hardly a cycle among them: Python's 700 would look through them in vain.
NEW_OBJECTS = 50_000

#: (API socket, socket for file descriptors, testbed): start serving in threads of one's own and return.
Serve = Callable[[socket.socket, socket.socket, Testbed], None]


def main(sandbox: Sandbox, topology: Topology, loaded: Loaded, serve: Serve) -> None:
    """Runs as PID 1 of the sandbox. Returning ends the lab."""
    gc.set_threshold(NEW_OBJECTS)
    logs = Path(tempfile.mkdtemp(prefix="logs-", dir="/run"))  # the sandbox's own /run: gone with it
    wanted = capacity.pods(topology, {key_of(each): each for each in loaded.objects})
    expected = (wanted, pods.sysctls(families(topology)))
    testbed = Testbed(topology, Host(topology.name, logs, sandbox.granted, expected))
    try:
        testbed.up(loaded.objects, sandbox.progress, loaded.places)
        syscalls.give_back()  # what was needed to make it all
        serve(sandbox.api, sandbox.attach, testbed)
        sandbox.ready()
        sandbox.wait()
    finally:
        testbed.down()
