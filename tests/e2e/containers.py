"""Pods with one program, and what the tests ask about their containers."""

from __future__ import annotations

from inside import pod

from emu.api.objects import ContainerStatus
from emu.testbed.facade import Testbed

CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: node1
  containers: [{name: netshoot, image: nicolaka/netshoot, args: [sleep, infinity]}]
"""


def program(name: str, script: str, more: str = "", of_pod: str = "") -> str:
    """A Pod on node1 with one container that runs a shell script. `more`: fields of the container."""
    lines = "\n".join(f"          {line}" for line in script.strip().splitlines())
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: node1
  {of_pod}
  containers:
    - name: main
      image: busybox
      {more}
      command:
        - sh
        - -c
        - |
{lines}
"""


def container(lab: Testbed, name: str, index: int = 0) -> ContainerStatus:
    return pod(lab, name).status.container_statuses[index]


def log(lab: Testbed, name: str, of: str = "", *, previous: bool = False) -> str:
    return lab.logs("default", name, of, previous).read_text()
