"""A machine to try things on: `on_a_machine` runs a test on a pretended one with links, rules and a name service of
its own, in the very ranges of the testbeds; testbeds are started there as a user starts them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from labs import TWO_NODES

from emu.api import load
from emu.apiserver.server import serve
from emu.kernel import process, runtime_dir, sandbox, syscalls
from emu.kernel.process import Child, Completed
from emu.testbed import lab
from emu.testbed.facade import Testbed
from tests.kernel import leaks

ROOT = Path(__file__).parents[2]
RUNTIME = Path("/run/kube-emu")
NAME = "two-node-flannel-vxlan"
PYTHON = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/root"}

# Docker's bridge, an uplink in the very ranges of the testbeds, a policy route, rules in both of netfilter's languages.
_FURNITURE = """
ip link add eth0 type veth peer name cable
ip link set cable addrgenmode none up
ip link set eth0 addrgenmode none up
ip address add 192.168.100.11/24 dev eth0
ip route add 10.244.0.0/16 via 192.168.100.1
ip link add docker0 type bridge
ip link add cni0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip rule add fwmark 7 table 100
iptables -t nat -N KUBE-SERVICES
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
nft 'add table inet emu; add chain inet emu mine; add rule inet emu mine tcp dport 80 drop'
mkdir -p /run/nscd /run/systemd/resolve /run/netns
touch /run/netns/node1
# The kernel tells of a carrier up to a second late: a machine that is looked at is at rest.
until [ "$(ip link | grep -c 'state UP')" = 2 ]; do sleep 0.02; done
"""

Work = Callable[[Testbed], object]


def on_a_machine(test: Callable[[], None]) -> Callable[[], None]:
    def furnished() -> None:
        process.run(["sh", "-ec", _FURNITURE])
        test()

    def run() -> None:
        leaks.pretend_machine(furnished)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def up(name: str = NAME, *, work: Work | None = None, directory: Path = RUNTIME) -> None:
    """A testbed as `emu up` makes it. `work` runs in a thread of its first process from then on."""
    topology, loaded = load.testbed(TWO_NODES)

    def main(inside: sandbox.Sandbox) -> None:
        def serve_and_work(api: object, attached: object, testbed: Testbed) -> None:
            serve(api, attached, testbed)  # type: ignore[arg-type]
            if work:
                _start(work, testbed)

        lab.main(inside, replace(topology, name=name), loaded, serve_and_work)

    sandbox.launch(name, directory, main)


def _start(work: Work, testbed: Testbed) -> None:
    threading.Thread(target=work, args=(testbed,), daemon=True).start()


def down(name: str = NAME, directory: Path = RUNTIME) -> None:
    sandbox.stop(name, directory)


def pid(name: str = NAME, directory: Path = RUNTIME) -> int:
    """Of the testbed's first process; 0 when it does not run."""
    found = runtime_dir.info(name, directory)
    return found.pid if found else 0


def kill(number: int = signal.SIGKILL, name: str = NAME, directory: Path = RUNTIME) -> None:
    """The testbed's first process, if there is one."""
    try:
        if found := pid(name, directory):
            os.kill(found, number)
    except ProcessLookupError:
        pass


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "emu.main", *arguments]


def emu(*arguments: str, check: bool = True, **environment: str) -> Completed:
    """The command line, run to its end."""
    env = {**process.ENVIRONMENT, **PYTHON, "EMU_RUNTIME_DIR": str(RUNTIME), **environment}
    return process.run(command(*arguments), check=check, env=env)


def emu_started(*arguments: str, terminal: int = -1) -> Child:
    """The command line, under way."""
    env = {**process.ENVIRONMENT, **PYTHON, "EMU_RUNTIME_DIR": str(RUNTIME)}
    if terminal < 0:
        return process.spawn(command(*arguments), env=env, stderr=2)
    return process.spawn(command(*arguments), env=env, stdin=terminal, stdout=terminal, stderr=terminal, tty=True)


def inside(argv: Sequence[str], netns: str, name: str = NAME) -> str:
    """What a program of the machine prints in a network namespace of a testbed, unknown to the testbed."""
    return process.run(["nsenter", f"--net=/proc/{pid(name)}/root/run/netns/{netns}", "--", *argv]).stdout


def forked(function: Callable[[], object]) -> int:
    """The pid of a child that calls `function` and ends."""
    child = os.fork()
    if not child:
        syscalls.die_with_parent()
        try:
            function()
        except BaseException as error:
            print(error, file=sys.stderr)
        finally:
            os._exit(0)
    return child
