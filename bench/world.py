"""The cluster that is measured, as the files a user would write: Deployments of ten Pods, each behind a Service."""

from __future__ import annotations

from pathlib import Path

NODES, PODS, SERVICES = 20, 1000, 100

_TOPOLOGY = """\
name: bench
nodes: {nodes}
cni: flannel-vxlan
proxy: iptables
"""

_APPLICATION = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-{n}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: app-{n}}}
  template:
    metadata:
      labels: {{app: app-{n}}}
    spec:
      containers:
        - name: hello
          image: nginxdemos/hello:plain-text
          ports:
            - containerPort: 80
---
apiVersion: v1
kind: Service
metadata:
  name: app-{n}
spec:
  selector: {{app: app-{n}}}
  ports:
    - {{name: http, port: 80, targetPort: 80}}
"""


def write(directory: Path, nodes: int = NODES, pods: int = PODS, services: int = SERVICES) -> None:
    """The directory is then one for `emu up`."""
    (directory / "topology.yaml").write_text(_TOPOLOGY.format(nodes=nodes))
    manifests = directory / "manifests"
    manifests.mkdir()
    applications = (_APPLICATION.format(n=n, replicas=pods // services) for n in range(1, services + 1))
    (manifests / "applications.yaml").write_text("---\n".join(applications))
