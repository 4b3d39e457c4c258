"""Containers are real programs with real ends: ports, logs, restarts, probes, signals, and nothing of the machine."""

from __future__ import annotations

import os

import pytest
from containers import CLIENT, container, log, program
from inside import (
    apply,
    out,
    pod,
    run,
    wait_until,
)
from labs import Labs

from emu.apiserver.tables.pods import status as pod_status
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root

# -- programs ----------------------------------------------------------------------------------------------------------


def test_the_nginx_image_is_a_real_nginx(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: n, image: nginx}]}}")
        address = pod(lab, "web").status.pod_ip
        wait_until(lambda: run(lab, "client", f"curl -sI {address}").code == 0, "nginx listens")
        head = out(lab, "client", f"curl -sI {address}")
        version = out(lab, "node1", "nginx -v 2>&1").strip().rpartition("nginx/")[2]
        assert head.startswith("HTTP/1.1 200 OK")
        assert f"Server: nginx/{version}" in head
        assert "nginx: worker process" in out(lab, "web", "ps ax")
        client = pod(lab, "client").status.pod_ip
        wait_until(lambda: f"{client} - - [" in log(lab, "web"), "the access log has a line")

    testbed(inside, manifests=CLIENT)


def test_a_command_is_run_with_its_arguments_environment_and_directory(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, COMMAND)
        wait_until(lambda: "end" in log(lab, "hello"), "the program has written")
        assert log(lab, "hello") == f"hello world from node2 at {pod(lab, 'hello').status.pod_ip}\n/usr/share\nend\n"

    testbed(inside, manifests=CLIENT)


COMMAND = """
apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  nodeName: node2
  containers:
    - name: main
      image: busybox
      workingDir: /usr/share
      command: [sh, -c, 'echo "$0 $1 $WHERE"; pwd; echo end; exec sleep infinity']
      args: [hello, $(WHOM)]
      env:
        - {name: WHOM, value: world}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: WHERE, value: from $(NODE) at $(IP)}
"""


def test_any_program_can_be_a_server(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        server = program("files", "cd /tmp; echo here > index.html; exec python3 -m http.server 8000")
        apply(lab, server)
        address = pod(lab, "files").status.pod_ip
        wait_until(lambda: run(lab, "client", f"curl -s {address}:8000").out == "here\n", "the server answers")

    testbed(inside, manifests=CLIENT)


def test_exec_gives_the_exit_status_and_the_environment_of_the_container(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert run(lab, "client", "exit 7").code == 7
        apply(lab, program("with-env", "exec sleep infinity", "env: [{name: COLOUR, value: blue}]"))
        assert out(lab, "with-env", "echo $COLOUR $(hostname)") == "blue with-env\n"

    testbed(inside, manifests=CLIENT)


# -- what a Pod sees ---------------------------------------------------------------------------------------------------


def test_nothing_of_the_caller_or_the_machine_is_in_a_pod(testbed: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the caller's environment would carry a request past the emulated network."""
    for name in ("http_proxy", "https_proxy", "ALL_PROXY", "LD_PRELOAD_OF_MINE"):
        monkeypatch.setenv(name, "http://192.0.2.1:3128")

    def inside(lab: Testbed) -> None:
        service = {name for name in pod_env(lab, "client") if name.startswith("KUBERNETES_")}
        assert pod_env(lab, "client") == {"PATH", "HOME", "HOSTNAME", *service}
        assert len(service) == 8
        apply(lab, program("own", "env | cut -d= -f1; exec sleep infinity"))
        wait_until(lambda: "PATH" in log(lab, "own"), "the program has written")
        assert set(log(lab, "own").split()) == {"PATH", "HOME", "HOSTNAME", "PWD", *service}
        assert "proxy" not in out(lab, "node1", ["env"]).lower()
        apply(lab, program("server", "exec python3 -m http.server 80"))
        address = pod(lab, "server").status.pod_ip
        wait_until(lambda: run(lab, "client", f"curl -sI {address}").code == 0, "the server answers")
        assert out(lab, "client", "find /run /tmp -type s -o -type f") == ""  # no socket of nscd, resolved, D-Bus
        assert out(lab, "client", "ip -o link | cut -d: -f2").split() == ["lo", "eth0@if4"]

    testbed(inside, manifests=CLIENT)


def pod_env(lab: Testbed, name: str) -> set[str]:
    return {line.partition("=")[0] for line in out(lab, name, ["env"]).splitlines()}


def test_the_files_of_a_pod_are_those_a_kubelet_writes(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        address = pod(lab, "client").status.pod_ip
        assert out(lab, "client", "cat /etc/resolv.conf") == (
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        )
        assert out(lab, "client", "cat /etc/hosts") == (
            "# Kubernetes-managed hosts file.\n"
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\n"
            "fe00::0\tip6-mcastprefix\n"
            "fe00::1\tip6-allnodes\n"
            "fe00::2\tip6-allrouters\n"
            f"{address}\tclient\n"
        )
        assert out(lab, "client", "cat /etc/hostname; hostname") == "client\nclient\n"
        assert "hosts: files dns\n" in out(lab, "client", "cat /etc/nsswitch.conf")

    testbed(inside, manifests=CLIENT)


def test_pods_share_no_files_and_see_no_process_of_another(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, program("other", "exec sleep 12345"))
        out(lab, "client", "echo mine > /tmp/mine; echo mine > /var/tmp/mine")
        assert out(lab, "other", "ls /tmp /var/tmp").split() == ["/tmp:", "/var/tmp:"]
        assert "sleep 12345" in out(lab, "other", "ps ax")
        assert "sleep 12345" not in out(lab, "client", "ps ax")
        assert "Read-only file system" in run(lab, "client", "touch /usr/mine").out
        assert not os.path.exists("/tmp/mine")

    testbed(inside, manifests=CLIENT)


# -- ports -------------------------------------------------------------------------------------------------------------

TWO_ON_ONE_PORT = """
apiVersion: v1
kind: Pod
metadata: {name: clash}
spec:
  containers:
    - {name: first, image: registry.k8s.io/e2e-test-images/agnhost, args: [netexec, --udp-port=-1]}
    - {name: second, image: registry.k8s.io/e2e-test-images/agnhost, args: [netexec, --udp-port=-1]}
---
apiVersion: v1
kind: Pod
metadata: {name: mixed}
spec:
  containers:
    - {name: first, image: nginxdemos/hello}
    - {name: second, image: python, command: [python3, -m, http.server, '80']}
"""


@pytest.mark.parametrize(("name", "words"), [("clash", "address already in use"), ("mixed", "Address already in use")])
def test_the_second_container_on_a_port_fails_as_on_linux(testbed: Labs, name: str, words: str) -> None:
    """Containers of one Pod share its network. Of one pair both are served, of the other one is a program."""

    def inside(lab: Testbed) -> None:
        apply(lab, TWO_ON_ONE_PORT, ready=False)
        wait_until(lambda: container(lab, name, 1).restart_count >= 1, "restarted")
        wait_until(lambda: container(lab, name, 1).state.waiting, "waiting for the next restart")
        first, second = container(lab, name), container(lab, name, 1)
        assert first.state.running and first.ready and first.restart_count == 0
        assert second.last_state.terminated and second.last_state.terminated.exit_code == 1
        assert second.state.waiting and second.state.waiting.reason == "CrashLoopBackOff"
        assert words in log(lab, name, "second")
        assert pod_status(pod(lab, name)) == "CrashLoopBackOff"

    testbed(inside, manifests=CLIENT)
