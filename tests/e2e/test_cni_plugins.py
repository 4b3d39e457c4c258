"""Real CNI plugins join the Pods: every path is as predicted, what they made is looked after and taken away by them,
what they refuse is told, and the machine is not touched."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inside import apply, is_gone, out, pod, run, scaled, wait_until
from labs import TWO_NODES, Labs
from proving import failures, shell

from emu import names
from emu.api import load
from emu.api.topology import Cni, Dns, NodeEntry, Ranges, Topology
from emu.api.topologyrules import DEFAULT_RANGES
from emu.cluster import lifecycle, readiness
from emu.errors import PluginError
from emu.report.text import trace_text
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root

ROOT = TWO_NODES.parents[1]
BRIDGE, PTP = TWO_NODES.parent / "two-node-cni-bridge", TWO_NODES.parent / "two-node-cni-ptp"
NETWORKS = "/var/lib/cni/networks/mynet"
#: Passes on what the plugin before has made, unless a file says otherwise; writes down how it was called.
MINE = """#!/bin/sh
echo "$CNI_COMMAND $CNI_ARGS" >> /tmp/calls
cat > /tmp/stdin
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) if test -e /tmp/refuse; then echo '{"cniVersion": "1.0.0", "code": 11, "msg": "no free VLAN"}'; exit 1; fi
     sed 's/.*"prevResult": //; s/}$//' /tmp/stdin ;;
esac
"""
CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  nodeName: node1
  containers: [{name: main, image: "nginxdemos/hello:plain-text"}]
"""


def own_plugin(folder: Path) -> Cni:
    """A developer's plugin, in a folder of their own, behind bridge."""
    (folder / "mine").write_text(MINE)
    (folder / "mine").chmod(0o755)
    bridge = {"type": "bridge", "isGateway": True, "ipam": {"type": "host-local", "subnet": "{{.PodCIDR}}"}}
    conflist = {"cniVersion": "1.0.0", "name": "mynet", "plugins": (bridge, {"type": "mine"})}
    return Cni(mode="plugins", conflist=conflist, bin_dir=(str(folder), "/opt/cni/bin", "/usr/lib/cni"))


def dual(topology: Topology) -> dict[str, Any]:
    """host-local with a range of each family."""
    plugins = [dict(each) for each in topology.cni.conflist["plugins"]]  # type: ignore[attr-defined]
    subnets = ("{{.PodCIDR}}", "{{index .PodCIDRRanges 1}}")
    plugins[0]["ipam"] = {"type": "host-local", "ranges": [[{"subnet": each}] for each in subnets]}
    both = {name: (each[4], each[6]) for name, each in DEFAULT_RANGES.items()}
    cni = replace(topology.cni, conflist={**topology.cni.conflist, "plugins": tuple(plugins)})
    return {"cni": cni, "family": "ipv4-ipv6", "ranges": Ranges(**both)}


#: A whole network in one program, of the newest version: an address, and no link.
NEWEST = """#!/bin/sh
echo "$CNI_COMMAND" "$(echo "$CNI_ARGS" | sed 's/.*POD_NAME=//; s/;.*//')" >> /tmp/calls
cat > /tmp/stdin.$CNI_COMMAND
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}' ;;
ADD) echo "{\\"cniVersion\\": \\"1.1.0\\", \\"ips\\": [{\\"address\\": \\"10.9.0.$(wc -l < /tmp/calls)/24\\"}]}" ;;
DEL) if test -e /tmp/refuse; then echo '{"code": 5, "msg": "the disk is full"}'; exit 1; fi ;;
esac
"""


def test_the_newest_version_is_asked_whether_it_is_ready_and_told_what_is_left(testbed: Labs, tmp_path: Path) -> None:
    def inside(lab: Testbed) -> None:
        assert out(lab, "node1", "cat /tmp/calls").split("\n") == ["VERSION ", "STATUS ", "ADD first", "ADD second", ""]
        assert [pod(lab, name).status.pod_ip for name in ("first", "second")] == ["10.9.0.3", "10.9.0.4"]
        out(lab, "node1", "touch /tmp/refuse")
        lab.delete([("Pod", "default", "first")])
        wait_until(lambda: is_gone(lab, "Pod", "first"), "a Pod goes although its plugin could not do its part")
        assert out(lab, "node1", "tail -2 /tmp/calls").split("\n") == ["DEL first", "GC ", ""]
        (valid,) = json.loads(out(lab, "node1", "cat /tmp/stdin.GC"))["cni.dev/valid-attachments"]
        assert valid == {"containerID": names.container_id(pod(lab, "second").metadata.uid), "ifname": "eth0"}

    (tmp_path / "newest").write_text(NEWEST)
    (tmp_path / "newest").chmod(0o755)
    conflist = {"cniVersion": "1.1.0", "name": "mynet", "plugins": ({"type": "newest"},)}
    cni = Cni(mode="plugins", conflist=conflist, bin_dir=(str(tmp_path),))
    two = [CLIENT.replace("NAME", name) for name in ("first", "second")]
    testbed(inside, manifests="---".join(two), cni=cni, dns=Dns(replicas=0))


#: Not ready for what is beside the program in a file called as its Node.
PICKY = NEWEST.replace("DEL)", "STATUS) if test -e $(dirname $0)/$(hostname); then echo '{}'; exit 1; fi ;;\nDEL)")


def test_a_pod_joined_before_something_else_failed_is_taken_out_again_or_is_joined(
    testbed: Labs, tmp_path: Path
) -> None:
    def inside(lab: Testbed) -> None:
        second = CLIENT.replace("NAME", "second")
        third = CLIENT.replace("NAME", "third").replace("node1", "node2")
        with pytest.raises(PluginError, match="STATUS on node2"):
            apply(lab, f"{second}---{third}")
        assert out(lab, "node1", "tail -1 /tmp/calls") == "ADD second\n"
        (tmp_path / "node2").unlink()
        apply(lab, third)
        assert "DEL second\n" in out(lab, "node1", "tail -2 /tmp/calls")
        with pytest.raises(KeyError):
            lab.host.netns("default.second")
        apply(lab, second)
        assert pod(lab, "second").status.pod_ip

        (tmp_path / "node3").touch()
        fourth = CLIENT.replace("NAME", "fourth")
        fifth = CLIENT.replace("NAME", "fifth").replace("node1", "node3")
        with pytest.raises(PluginError, match="STATUS on node3"):
            apply(lab, f"{fourth}---{fifth}")
        (tmp_path / "node3").unlink()
        apply(lab, f"{fourth}---{fifth}")
        assert pod(lab, "fourth").status.pod_ip and pod(lab, "fifth").status.pod_ip
        assert out(lab, "node1", "grep -c 'ADD fourth' /tmp/calls") == "1\n"

    (tmp_path / "newest").write_text(PICKY)
    (tmp_path / "newest").chmod(0o755)
    (tmp_path / "node2").touch()
    conflist = {"cniVersion": "1.1.0", "name": "mynet", "plugins": ({"type": "newest"},)}
    cni = Cni(mode="plugins", conflist=conflist, bin_dir=(str(tmp_path),))
    nodes = tuple(NodeEntry(name=f"node{number}") for number in (1, 2, 3))
    testbed(inside, manifests=CLIENT.replace("NAME", "first"), cni=cni, dns=Dns(replicas=0), nodes=nodes)


def test_a_pod_that_gets_no_address_of_a_family_of_the_cluster_is_not_joined(testbed: Labs, tmp_path: Path) -> None:
    def inside(lab: Testbed) -> None:
        said = readiness.hopeless(pod(lab, "first"))
        assert "the result of ADD for Pod default/first names no IPv6 address" in said
        assert "DEL first" in out(lab, "node1", "cat /tmp/calls")

    (tmp_path / "newest").write_text(NEWEST)
    (tmp_path / "newest").chmod(0o755)
    conflist = {"cniVersion": "1.1.0", "name": "mynet", "plugins": ({"type": "newest"},)}
    cni = Cni(mode="plugins", conflist=conflist, bin_dir=(str(tmp_path),))
    both = Ranges(**{name: (each[4], each[6]) for name, each in DEFAULT_RANGES.items()})
    shape = {"cni": cni, "family": "ipv4-ipv6", "ranges": both, "dns": Dns(replicas=0)}
    testbed(inside, manifests=CLIENT.replace("NAME", "first"), **shape)


@pytest.mark.parametrize("folder", [BRIDGE, PTP], ids=["bridge", "ptp"])
def test_every_kind_of_path_is_as_predicted_and_nothing_drifts(testbed: Labs, folder: Path) -> None:
    def inside(lab: Testbed) -> None:
        assert lab.check() == ()
        assert failures(lab.verify()) == []

    testbed(inside, topology=folder, dns=Dns(replicas=0))


def test_both_families_are_joined_and_their_paths_are_as_predicted(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert lab.check() == ()
        neighbor = pod(lab, "client2").status.pod_ips
        assert [":" in each.ip for each in neighbor] == [False, True]
        for source, target in (("client", neighbor[1].ip), ("client2", "[fd00:192:168:100::11]:8080")):
            result = lab.trace(source, target)
            assert result.ok, trace_text(result, color=False)

    testbed(inside, topology=BRIDGE, **{**dual(load.topology(BRIDGE)), "dns": Dns(replicas=0)})


def test_plugins_write_their_rules_in_the_variant_that_the_topology_names(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert lab.check() == ()
        assert "CNI-HOSTPORT-DNAT" in out(lab, "node1", "iptables-legacy-save -t nat")
        assert "CNI" not in out(lab, "node1", "iptables-nft-save")
        assert lab.trace("client2", "192.168.100.11:8080").ok

    testbed(inside, topology=BRIDGE, iptables="legacy", dns=Dns(replicas=0))


def test_pods_come_and_go_by_add_and_del_and_leave_nothing(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        links = "ip -br link show type veth | wc -l"
        state = f"ls {NETWORKS}; iptables-save | grep -c -e CNI-DN- -e {pod(lab, 'published').status.pod_ip}/32"
        before = out(lab, "node1", links), set(out(lab, "node1", state).split())
        scaled(lab, "web", 6)
        assert out(lab, "node1", links) != before[0] and lab.check() == ()
        scaled(lab, "web", 2)
        wait_until(lambda: lab.check() == (), "what DEL took away is no longer expected")
        assert out(lab, "node1", links) == before[0]
        address = pod(lab, "published").status.pod_ip
        lab.delete([("Pod", "default", "published")])
        wait_until(lambda: is_gone(lab, "Pod", "published") and lab.check() == (), "the published Pod is gone")
        left = run(lab, "node1", f"iptables-save | grep -e CNI-DN- -e {address}/32; ls {NETWORKS}/{address}")
        assert left.out.strip().endswith("No such file or directory") and "CNI-DN" not in left.out

    testbed(inside, topology=BRIDGE)


def test_a_services_new_rules_leave_the_plugins_rules_where_they_are(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        jumps = "iptables-save | grep -e '^-A FORWARD' -e '-j CNI-HOSTPORT' -e '-A CNI-DN'"
        before = out(lab, "node1", jumps)
        assert before.startswith('-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD')
        apply(lab, "apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {ports: [{port: 1}]}\n")
        scaled(lab, "web", 4)
        assert out(lab, "node1", jumps) == before
        assert out(lab, "node2", "curl -s -m2 192.168.100.11:8080").startswith("Server address")

    testbed(inside, topology=BRIDGE)


def test_what_somebody_else_changes_is_told_and_a_path_that_it_breaks_is_not_as_predicted(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        address = pod(lab, "client").status.pod_ip
        shell(lab, "node1", f"ip route del {address}")
        (drift,) = [each for each in lab.check() if each.netns == "node1"]
        assert drift.what == f"route {address}/32 (by the plugins of mynet)" and drift.got == "missing"
        result = lab.trace("client2", "client")
        assert not result.ok, trace_text(result, color=False)
        lab.check(repair=True)
        assert lab.check() == () and lab.trace("client2", "client").ok

        shell(lab, "default.client", "ip route del default")
        route, check = lab.check()
        assert route.what == "route 0.0.0.0/0 (by the plugins of mynet)"
        assert check.got.startswith("CNI plugin ptp (CHECK for Pod default/client): ")
        lab.check(repair=True)
        assert lab.check() == ()

    testbed(inside, topology=PTP)


def test_a_refused_pod_waits_with_the_plugins_words_and_is_joined_when_the_plugin_can(
    testbed: Labs, tmp_path: Path
) -> None:
    def inside(lab: Testbed) -> None:
        out(lab, "node1", "touch /tmp/refuse")
        apply(lab, CLIENT.replace("NAME", "late"), ready=False)
        wait_until(lambda: readiness.hopeless(pod(lab, "late")), "the refusal is told")
        said = readiness.hopeless(pod(lab, "late"))
        assert (
            "CNI plugin mine (ADD for Pod default/late): no free VLAN (code 11); the plugin asks to be called" in said
        )
        lab.wait_ready(2)  # nobody waits for it
        assert pod(lab, "late").status.container_statuses[0].state.waiting.reason == "ContainerCreating"
        assert "DEL" in out(lab, "node1", "cat /tmp/calls")
        assert out(lab, "node1", f"ls {NETWORKS}").split() == ["10.244.1.2", "last_reserved_ip.0", "lock"]

        out(lab, "node1", "rm /tmp/refuse")
        wait_until(lambda: lifecycle.is_ready(pod(lab, "late")), "it is called again by itself")
        calls = [line for line in out(lab, "node1", "cat /tmp/calls").splitlines() if "NAME=late;" in line]
        assert calls[0].startswith("ADD") and calls[1].startswith("DEL") and calls[-1].startswith("ADD")

    quiet = {"cni": own_plugin(tmp_path), "dns": Dns(replicas=0)}
    testbed(inside, manifests=CLIENT.replace("NAME", "first"), **quiet)


def test_a_developers_plugin_is_called_wherever_it_is_with_the_result_before_it(testbed: Labs, tmp_path: Path) -> None:
    def inside(lab: Testbed) -> None:
        asked = json.loads(out(lab, "node1", "cat /tmp/stdin"))
        assert asked["prevResult"]["ips"][0]["address"] == f"{pod(lab, 'first').status.pod_ip}/24"
        assert lab.check() == ()

    quiet = {"cni": own_plugin(tmp_path), "dns": Dns(replicas=0)}
    testbed(inside, manifests=CLIENT.replace("NAME", "first"), **quiet)
    assert not Path("/tmp/calls").exists()


def test_plugins_keep_their_state_on_their_node_and_not_on_the_machine(testbed: Labs) -> None:
    before = Path(NETWORKS).parent.exists()

    def inside(lab: Testbed) -> None:
        assert "10.244.1.2" in out(lab, "node1", f"ls {NETWORKS}")
        assert "10.244.1.2" not in out(lab, "node2", f"ls {NETWORKS}")
        assert out(lab, "node1", "ls /run/netns").split().count("default.client") == 1

    testbed(inside, topology=PTP)
    assert Path(NETWORKS).parent.exists() == before


def test_a_built_in_mode_is_a_plugin_too_whose_paths_are_as_predicted(testbed: Labs, tmp_path: Path) -> None:
    def inside(lab: Testbed) -> None:
        result = lab.trace("a", "b:80")
        assert result.ok, trace_text(result, color=False)
        before = len(out(lab, "node1", "ip -o link show type veth").splitlines())
        lab.delete([("Pod", "default", "b")])
        wait_until(lambda: is_gone(lab, "Pod", "b"), "b has gone")
        assert len(out(lab, "node1", "ip -o link show type veth").splitlines()) == before - 1

    program = tmp_path / "kube-emu-cni"
    program.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m emu.cniplugin.main\n")
    program.chmod(0o755)
    ipam = {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]]}
    plugin = {"type": "kube-emu-cni", "mode": "calico", "podNetworks": ["10.244.0.0/16"], "ipam": ipam}
    conflist = {"cniVersion": "1.0.0", "name": "ours", "plugins": (plugin,)}
    paths = (str(tmp_path), "/opt/cni/bin", "/usr/lib/cni")
    two = [CLIENT.replace("NAME", name) for name in ("a", "b")]
    cni = Cni(mode="plugins", conflist=conflist, bin_dir=paths)
    testbed(inside, manifests="---".join(two), cni=cni, dns=Dns(replicas=0))
