"""What calico-node leaves on a Node: the CNI configuration of calico.yaml or canal.yaml, filled in by install-cni, and
for the plugin the Node's name and the MTU that Felix has found out.

Source: projectcalico/calico manifests/calico.yaml, manifests/canal.yaml (cni_network_config), felix/dataplane/linux
(writeMTUFile), node/pkg/lifecycle/startup (writeNodeConfig)."""

from __future__ import annotations

from collections.abc import Iterator

from emu.cluster.model import Cluster
from emu.plan.model import NetnsPlan
from emu.planners.cni import calico_options, node_files

CONFLIST = """{{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {{
      "type": "calico",
      "log_level": "info",
      "log_file_path": "/var/log/calico/cni/cni.log",
      "datastore_type": "kubernetes",
      "nodename": "{node}",
      "mtu": {mtu},
      "ipam": {{
          {ipam}
      }},
      "policy": {{
          "type": "k8s"
      }},
      "kubernetes": {{
          "kubeconfig": "/etc/cni/net.d/calico-kubeconfig"
      }}
    }},
    {{
      "type": "portmap",
      "snat": true,
      "capabilities": {{"portMappings": true}}
    }},
    {{
      "type": "bandwidth",
      "capabilities": {{"bandwidth": true}}
    }}
  ]
}}
"""
BLOCKS = ('"type": "calico-ipam"',)
RANGE = ('"type": "host-local"', '"subnet": "usePodCidr"')


def plan(cluster: Cluster, mtu: int, name: str = "10-calico", ipam: tuple[str, ...] = BLOCKS) -> Iterator[NetnsPlan]:
    """`mtu`: of the Pods. `ipam`: who gives them their addresses."""
    wanted = calico_options.veth_mtu(cluster.topology.cni.options, 0)
    if 6 in cluster.families and ipam is BLOCKS:
        ipam = (*ipam, *(f'"assign_ipv{each}": "{str(each in cluster.families).lower()}"' for each in (4, 6)))
    for node in cluster.nodes:
        conflist = CONFLIST.format(node=node.name, mtu=wanted, ipam=",\n          ".join(ipam))
        texts = (
            (f"{node_files.CNI}/{name}.conflist", conflist),
            ("/var/lib/calico/mtu", str(mtu)),
            ("/var/lib/calico/nodename", node.name),
        )
        yield node_files.fragment((cluster.name, node.name, "calico"), node.name, texts)
