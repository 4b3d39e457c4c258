"""The Mininet prompt reaches Nodes and Pods by their names."""

from __future__ import annotations

import os
import select
from functools import cache

import pytest
from test_pods import Lab, in_a_lab

from emu.kernel import inventory, netns, process
from emu.kernel.inventory import InterfaceInfo, MachineInfo

pytestmark = pytest.mark.root


@cache
def machines(lab: Lab) -> dict[str, MachineInfo]:
    node1, node2 = netns.create_all(("node1", "node2"))
    for place, address in ((node1, "192.168.100.11/24"), (node2, "192.168.100.12/24")):
        process.run(["ip", "link", "set", "lo", "up"], ns=place)
        process.run(["ip", "address", "add", address, "dev", "lo"], ns=place)
    found = [
        MachineInfo(
            name="node1",
            netns=node1.path,
            interfaces=(InterfaceInfo(name="eth0", address="192.168.100.11/24", peer=("fabric", "fabric-node1")),),
        ),
        MachineInfo(
            name="node2", netns=node2.path, interfaces=(InterfaceInfo(name="eth0", address="192.168.100.12/24"),)
        ),
        MachineInfo(
            name="fabric",
            switch=True,
            interfaces=(InterfaceInfo(name="fabric-node1", peer=("node1", "eth0")),),
        ),
        MachineInfo(
            name="web-5d4f.x",
            pid=lab.web.pid,
            aliases=("default/web-5d4f.x",),
            env={"NGINX_SERVICE_HOST": "10.96.1.1"},
        ),
    ]
    return {machine.name: machine for machine in found}


def ask(lab: Lab, script: str) -> tuple[int, str]:
    argv, env = inventory.command(machines(lab), script)
    done = process.run(argv, env=env, check=False)
    return done.code, (done.stdout + done.stderr).replace("\r\n", "\n")


@in_a_lab
def test_a_node_answers_to_its_name(lab: Lab):
    assert ask(lab, "node1 hostname; ls /sys/class/net; ip -br address") == (
        0,
        "node1\nlo\nlo               UNKNOWN        127.0.0.1/8 192.168.100.11/24 ::1/128 \n",
    )


@in_a_lab
def test_a_pod_answers_to_its_name_and_its_aliases_with_its_own_environment(lab: Lab):
    script = "web-5d4f.x hostname; echo $NGINX_SERVICE_HOST; cat /etc/resolv.conf | head -1\ndefault/web-5d4f.x echo $$"
    status, shown = ask(lab, script)
    assert (status, shown.splitlines()[:3]) == (0, ["web", "10.96.1.1", "search default.svc.cluster.local"])
    assert shown.splitlines()[3].isdigit()


@in_a_lab
def test_names_in_a_command_become_addresses(lab: Lab):
    assert ask(lab, "node1 echo node2") == (0, "192.168.100.12\n")
    assert ask(lab, "node2 ping -c1 -W1 node2 | grep -c '1 received'") == (0, "1\n")


@in_a_lab
def test_the_status_of_a_script_is_that_of_its_last_command(lab: Lab):
    assert ask(lab, "node1 false") == (1, "")
    status, shown = ask(lab, "nobody ls")
    assert (status, "Unknown command" in shown) == (127, True)


@in_a_lab
def test_the_network_is_listed_with_its_links_and_no_shell_is_started(lab: Lab):
    assert ask(lab, "nodes\nnet\npy node1.shell\npy web_5d4f_x.name") == (
        0,
        "available nodes are: \nfabric node1 node2 web-5d4f.x\n"
        "node1 eth0:fabric-node1\nnode2 eth0: \nweb-5d4f.x\nfabric fabric-node1:eth0\nweb-5d4f.x\n",
    )


@in_a_lab
def test_at_a_terminal_it_is_the_mininet_prompt_and_ctrl_c_stops_the_command_only(lab: Lab):
    argv, env = inventory.command(machines(lab))
    master, slave = os.openpty()
    child = process.spawn(argv, env=env, stdin=slave, stdout=slave, stderr=slave, tty=True)
    os.close(slave)
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            assert select.select([master], [], [], 10)[0], f"{text!r} does not come after {seen!r}"
            seen += os.read(master, 4096)
        seen = seen[seen.index(text) + len(text) :]

    until(b"mininet> ")
    os.write(master, b"node1 echo begun; sleep 1000\n")
    until(b"\r\nbegun\r")
    os.write(master, b"\x03")
    until(b"mininet> ")
    os.write(master, b"node1 hostname\n")
    until(b"\r\nnode1\r")
    until(b"mininet> ")
    os.write(master, b"exit\n")
    assert child.wait(10) == 0
