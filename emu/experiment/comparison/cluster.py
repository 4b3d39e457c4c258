"""The cluster that every mode is given: Nodes on one switch, a client on the first, a server on the last. What is not
said here is the mode's own default."""

from __future__ import annotations

from emu import planners
from emu.api import load, topologyfile
from emu.api.load import Loaded
from emu.api.topology import Topology

CLIENT, SERVER, CLIENT_NODE, PORT = "default/client", "default/server", "node1", 80

_TOPOLOGY = """\
name: {name}
nodes: {nodes}
cni: {mode}
"""
_MANIFESTS = """\
apiVersion: v1
kind: Pod
metadata: {{name: client, labels: {{app: client}}}}
spec:
  nodeName: node1
  containers: [{{name: shell, image: nicolaka/netshoot, args: [sleep, infinity]}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: server, labels: {{app: server}}}}
spec:
  nodeName: node{nodes}
  containers: [{{name: web, image: "nginxdemos/hello:plain-text", ports: [{{containerPort: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: server}}, ports: [{{port: 80}}]}}
"""


def load_for(mode: str, name: str, nodes: int) -> tuple[Topology, Loaded]:
    """Raises InputError for a mode that wants to be told more than its name."""
    text = _TOPOLOGY.format(name=name, nodes=nodes, mode=mode)
    topology = topologyfile.parse(text, f"the comparison's topology with cni: {mode}", planners.check)
    return topology, load.parse_manifests(_MANIFESTS.format(nodes=nodes), "the comparison's manifests")
