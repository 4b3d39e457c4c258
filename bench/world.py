"""The cluster that is measured, as the files a user would write: Deployments of ten Pods, behind Services."""

from __future__ import annotations

from pathlib import Path

from bench import networks

NODES, PODS, SERVICES = 20, 1000, 100
NOW = "2025-01-01T00:00:00Z"

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
"""
_SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: app-{n}
spec:
  selector: {{app: app-{n}}}
  ports:
    - {{name: http, port: 80, targetPort: 80}}
"""


def write(
    directory: Path,
    nodes: int = NODES,
    pods: int = PODS,
    services: int = SERVICES,
    *,
    alone: int = 0,
    network: str = "flannel-vxlan",
) -> None:
    """The directory is then one for `emu up`. `alone`: so many more Deployments have no Service.
    `network` is one of `networks.NAMES`."""
    (directory / "topology.yaml").write_text(f"name: bench\n{networks.text(network, nodes, -(-pods // nodes))}")
    manifests = directory / "manifests"
    manifests.mkdir()
    deployments = services + alone
    documents = [_APPLICATION.format(n=n, replicas=pods // deployments) for n in range(1, deployments + 1)]
    documents += [_SERVICE.format(n=n) for n in range(1, services + 1)]
    (manifests / "applications.yaml").write_text("---\n".join(documents))
