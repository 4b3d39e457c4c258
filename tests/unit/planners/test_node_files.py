"""Files of Nodes, letter by letter as the real programs write them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import shipped

from emu import planners
from emu.cluster.model import Cluster


def files(folder: str, node: str = "node2") -> dict[str, str]:
    return {file.path: file.text for file in shipped.plan(folder).netns[node].files}


def of(cluster: Cluster, **options: object) -> dict[str, str]:
    cni = replace(cluster.topology.cni, options={**cluster.topology.cni.options, **options})
    changed = replace(cluster, topology=replace(cluster.topology, cni=cni))
    return {file.path: file.text for file in planners.build(changed).netns["node2"].files}


V4 = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.2.1/24\n"
V6 = "FLANNEL_IPV6_NETWORK=fd00:10:244::/56\nFLANNEL_IPV6_SUBNET=fd00:10:244:2::1/64\n"


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("two-node-flannel-vxlan", V4 + "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"),
        ("two-node-flannel-host-gw", V4 + "FLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n"),
        ("two-node-flannel-vxlan-dual-stack", V4 + V6 + "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"),
        ("two-node-flannel-vxlan-ipv6", V6 + "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"),
        ("two-node-canal", V4 + "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"),
    ],
)
def test_flanneld_writes_its_lease_ipv4_first(folder: str, text: str) -> None:
    assert files(folder)["/run/flannel/subnet.env"] == text


@pytest.mark.parametrize(
    ("folder", "mtu"),
    [
        ("two-node-calico-vxlan", "1450"),
        ("two-node-calico-bgp", "1500"),
        ("two-node-calico-ipip", "1480"),
        ("two-node-canal", "1500"),
    ],
)
def test_felix_writes_the_mtu_that_pods_get_and_calico_node_its_name_both_without_a_newline(
    folder: str, mtu: str
) -> None:
    found = files(folder)
    assert (found["/var/lib/calico/mtu"], found["/var/lib/calico/nodename"]) == (mtu, "node2")
    (link,) = (link for link in shipped.plan(folder).netns["default.client2"].links if link.name == "eth0")
    assert link.mtu == int(mtu)


CALICO = """{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "log_level": "info",
      "log_file_path": "/var/log/calico/cni/cni.log",
      "datastore_type": "kubernetes",
      "nodename": "node2",
      "mtu": 0,
      "ipam": {
          "type": "calico-ipam"
      },
      "policy": {
          "type": "k8s"
      },
      "kubernetes": {
          "kubeconfig": "/etc/cni/net.d/calico-kubeconfig"
      }
    },
    {
      "type": "portmap",
      "snat": true,
      "capabilities": {"portMappings": true}
    },
    {
      "type": "bandwidth",
      "capabilities": {"bandwidth": true}
    }
  ]
}
"""


def test_calicos_configuration_is_that_of_its_manifest_filled_in() -> None:
    assert files("two-node-calico-vxlan")["/etc/cni/net.d/10-calico.conflist"] == CALICO
    canal = CALICO.replace('"type": "calico-ipam"', '"type": "host-local",\n          "subnet": "usePodCidr"')
    assert files("two-node-canal")["/etc/cni/net.d/10-canal.conflist"] == canal


def test_the_mtu_that_a_topology_wants_stands_in_the_configuration_too() -> None:
    found = of(shipped.ready("two-node-canal"), veth_mtu=1400)
    assert '"mtu": 1400,' in found["/etc/cni/net.d/10-canal.conflist"]
    assert found["/var/lib/calico/mtu"] == "1400"


CILIUM = """
{
  "cniVersion": "0.3.1",
  "name": "cilium",
  "plugins": [
    {
       "type": "cilium-cni",
       "enable-debug": false,
       "log-file": "/var/run/cilium/cilium-cni.log"
    }
  ]
}"""


def test_the_cilium_agent_writes_a_line_before_its_configuration_and_none_behind() -> None:
    assert files("two-node-cilium") == {"/etc/cni/net.d/05-cilium.conflist": CILIUM}


CONFIGURED = {
    "two-node-flannel-vxlan": ["flannel", "portmap"],
    "two-node-flannel-host-gw": ["flannel", "portmap"],
    "two-node-calico-ipip-dual-stack": ["calico", "portmap", "bandwidth"],
    "two-node-canal": ["calico", "portmap", "bandwidth"],
    "two-node-cilium": ["cilium-cni"],
    "two-node-aws-vpc": ["aws-cni", "egress-cni", "portmap"],
}


@pytest.mark.parametrize(("folder", "types"), CONFIGURED.items())
def test_every_node_has_one_configuration_and_it_is_json(folder: str, types: list[str]) -> None:
    for node in ("node1", "node2"):
        (text,) = (text for path, text in files(folder, node).items() if path.startswith("/etc/cni/net.d/"))
        assert [plugin["type"] for plugin in json.loads(text)["plugins"]] == types


def test_a_dual_stack_calico_gives_addresses_of_both_families() -> None:
    config = json.loads(files("two-node-calico-ipip-dual-stack")["/etc/cni/net.d/10-calico.conflist"])
    assert config["plugins"][0]["ipam"] == {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"}


def test_aws_node_says_the_mtu_of_its_interfaces() -> None:
    config = json.loads(files("two-node-aws-vpc")["/etc/cni/net.d/10-aws.conflist"])
    assert (config["plugins"][0]["mtu"], config["plugins"][1]["randomizeSNAT"]) == ("9001", "prng")


@pytest.mark.parametrize("folder", ["one-host-docker", "two-hosts-vm", "two-node-cni-ptp"])
def test_other_hosts_have_none(folder: str) -> None:
    assert not any(netns.files for netns in shipped.plan(folder).netns.values())
