"""Mininet's view of the lab: its prompt, hosts and switches over namespaces that exist already. The one file that
imports mininet; `python -m emu.kernel.machines FILE` is the prompt's process (see `inventory.command`).

Nothing here configures: Mininet's own way is a shell per host and a command per address. Shells start on first use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mininet import log as mininet_log
from mininet.cli import CLI
from mininet.link import Intf, Link
from mininet.log import error, lg, output
from mininet.net import Mininet
from mininet.node import Node, Switch

from emu.kernel import inventory, process
from emu.kernel.inventory import InterfaceInfo, MachineInfo

__all__ = ["FabricSwitch", "InterfaceInfo", "Machine", "MachineInfo", "Network", "Prompt", "network", "prompt"]

# Mininet.init(), which every constructor calls, writes sysctls of the whole machine.
Mininet.inited = True

# A Node has no mount and UTS namespace: a shell gets them, so that /sys shows the Node's links and it knows its name.
_AS_NODE = 'hostname "$0"; mount -t sysfs sysfs /sys 2>/dev/null; exec "$@"'
_SHELL = ["mnexec", "-cdn"]  # how Mininet begins the command of a shell


class Machine(Node):
    """A host whose namespaces are there already."""

    isSetup = True  # Mininet would look for ifconfig

    def __init__(self, info: MachineInfo, **params: Any) -> None:
        self.info = info
        super().__init__(info.name, inNamespace=True, **params)
        for interface in info.interfaces:
            Interface(interface, self)

    def enter(self) -> list[str]:
        """The command that runs the rest of its arguments in there."""
        if self.info.pid:
            pod = ["nsenter", f"--target={self.info.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--wd=/"]
            return [*pod, "--"]
        if self.info.netns:
            inside = ["unshare", "--mount", "--uts", "sh", "-c", _AS_NODE, self.info.name]
            return ["nsenter", f"--net={self.info.netns}", "--", *inside]
        return []

    def addIntf(self, intf: Intf, port: int | None = None, moveIntfFn: object = None) -> None:
        """Mininet would move it into the namespace."""
        super().addIntf(intf, port, lambda *_: None)

    def startShell(self, mnopts: str | None = None) -> None:
        """Called by the constructor: not yet."""

    def sendCmd(self, *args: Any, **kwargs: Any) -> None:
        self._start()
        super().sendCmd(*args, **kwargs)

    def cmd(self, *args: Any, **kwargs: Any) -> str:
        self._start()
        answer: str = super().cmd(*args, **kwargs)
        return answer

    def popen(self, *args: Any, **kwargs: Any) -> Any:
        return super().popen(*args, **{"mncmd": self.enter(), **kwargs})

    def _start(self) -> None:
        if not self.shell:
            Node.startShell(self)

    def _popen(self, cmd: list[str], **params: Any) -> Any:
        """Mininet's shell has no controlling terminal (Ctrl-C could not reach its jobs) and its own environment."""
        if cmd[:2] == _SHELL:
            cmd = ["setsid", "--ctty", *self.enter(), *cmd[2:]]
        home = {"HOME": "/root", "TERM": os.environ.get("TERM", "dumb"), "HOSTNAME": self.info.name}
        params = {**params, "close_fds": True, "env": {**process.ENVIRONMENT, **home, **self.info.env}}
        return super()._popen(cmd, **params)


class FabricSwitch(Machine, Switch):
    """A bridge of the fabric, in the lab's own network namespace."""

    controlIntf = None

    def __init__(self, info: MachineInfo) -> None:
        super().__init__(info, dpid="1")

    def start(self, controllers: object) -> None:
        """It runs."""

    def connected(self) -> bool:
        return True


class Interface(Intf):
    """Knows what the plan says instead of asking ifconfig."""

    def __init__(self, info: InterfaceInfo, node: Machine) -> None:
        super().__init__(info.name, node=node, mac=info.mac)
        self.peer = info.peer
        if info.address:
            self.ip, self.prefixLen = info.address.split("/")

    def config(self, **params: Any) -> dict[str, Any]:
        """Mininet would set it up by a command."""
        return {}

    def updateIP(self) -> str | None:
        address: str | None = self.ip
        return address

    def updateMAC(self) -> str:
        mac: str = self.mac
        return mac

    def ifconfig(self, *args: str) -> str:
        """`link A B down` of the prompt."""
        answer: str = self.cmd("ip", "link", "set", "dev", self.name, *args)
        return answer

    def isUp(self, setUp: bool = False) -> bool:
        answer: str = self.cmd("ip", "link", "show", "dev", self.name)
        return "UP" in answer.partition("<")[2].partition(">")[0].split(",")


class Wire(Link):
    """Two interfaces joined already."""

    def __init__(self, one: Interface, other: Interface) -> None:
        self.intf1, self.intf2 = one, other
        one.link = other.link = self


class Network(Mininet):
    """Hosts and switches by name. A Pod answers to its aliases too, which `nodes` does not list."""

    def __init__(self, machines: Mapping[str, MachineInfo]) -> None:
        super().__init__(build=False, controller=None)
        for info in machines.values():
            node = FabricSwitch(info) if info.switch else Machine(info)
            (self.switches if info.switch else self.hosts).append(node)
            self.nameToNode.update(dict.fromkeys((*info.aliases, info.name), node))
        for node in self.values():
            for interface in [each for each in node.intfList() if isinstance(each, Interface) and not each.link]:
                self._wire(interface)

    def _wire(self, interface: Interface) -> None:
        machine, name = interface.peer or ("", "")
        peer = self.nameToNode[machine].nameToIntf.get(name) if machine in self.nameToNode else None
        if peer:
            self.links.append(Wire(interface, peer))

    def stop(self) -> None:
        """End the shells; the namespaces are not ours."""
        for node in self.values():
            node.terminate()


class Prompt(CLI):
    """Mininet's prompt. `status` is that of the last command a script ran on a machine (127: no such machine)."""

    identchars = CLI.identchars + "-./"  # Pods have such names

    def __init__(self, net: Network, script: str | None = None) -> None:
        self.script, self.status = script, 0
        super().__init__(net)

    @classmethod
    def initReadline(cls) -> None:
        """Without the history file: it would be written into the machine's home directory."""
        if sys.stdin.isatty():
            import readline

            readline.set_completer_delims(" \t\n")

    def completenames(self, text: str, *ignored: Any) -> list[str]:
        return [*super().completenames(text, *ignored), *(name for name in self.mn if name.startswith(text))]

    def getLocals(self) -> dict[str, Any]:
        """For `py`: `-`, `.` and `/` of a name are `_`."""
        known = {"".join(c if c.isalnum() else "_" for c in name): node for name, node in self.mn.nameToNode.items()}
        self.locals.update(known)
        found: dict[str, Any] = self.locals
        return found

    def run(self) -> None:
        if self.script is None:
            super().run()
            return
        for line in self.script.splitlines():
            if self.onecmd(self.precmd(line)):
                break

    def default(self, line: str) -> None:
        name, _, _ = self.parseline(line)
        if name not in self.mn and line != "EOF":
            self.status = 127
        super().default(line)

    def waitForNode(self, node: Machine) -> None:
        """A script's commands get no input: Mininet would read the prompt's own, over and over at its end."""
        if self.script is None:
            super().waitForNode(node)
            return
        while node.waiting:
            output(node.monitor())
        answer = node.cmd("echo $?").split()
        self.status = int(answer[-1]) if answer and answer[-1].isdigit() else 1


def network(machines: Mapping[str, MachineInfo]) -> Network:
    """No command is run, no shell started."""
    return Network(machines)


def prompt(machines: Mapping[str, MachineInfo], script: str | None = None) -> int:
    """The prompt on this process's own terminal, or the lines of `script`. The exit status."""
    for handler in lg.handlers:
        handler.stream = sys.stdout
    mininet_log.setLogLevel("output")
    net = network(machines)
    try:
        return Prompt(net, script).status
    finally:
        net.stop()


def main() -> int:
    if len(sys.argv) != 2:
        error("usage: python -m emu.kernel.machines FILE\n")
        return 2
    machines, script = inventory.read(Path(sys.argv[1]))
    return prompt(machines, script)


if __name__ == "__main__":
    sys.exit(main())
