"""How containers end, start anew, prove that they are well, and go."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest
from containers import CLIENT, container, log, program
from inside import apply, endpoints, is_gone, out, pod, run, wait_until
from labs import Labs

from emu.apiserver.tables.pods import status as pod_status
from emu.capture.decode import decode
from emu.capture.points import points
from emu.capture.recorder import Recorder, opener
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root


def test_a_container_that_exits_is_restarted_with_back_off(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, program("brief", "echo run; exit 3"), ready=False)
        wait_until(lambda: container(lab, "brief").restart_count == 1, "the first restart comes at once")
        wait_until(lambda: container(lab, "brief").state.waiting, "waiting")
        status = container(lab, "brief")
        assert status.last_state.terminated and status.last_state.terminated.exit_code == 3
        assert status.state.waiting and status.state.waiting.reason == "CrashLoopBackOff"
        assert status.state.waiting.message.startswith(
            "back-off 10s restarting failed container=main pod=brief_default("
        )
        assert pod_status(pod(lab, "brief")) == "CrashLoopBackOff"
        assert log(lab, "brief").startswith("run")
        assert log(lab, "brief", previous=True).startswith("run")

    testbed(inside, manifests=CLIENT)


def test_a_program_that_is_killed_in_its_pod_is_restarted(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        out(lab, "client", "kill -9 $(pgrep -nx sleep)")
        wait_until(lambda: container(lab, "client").restart_count == 1, "restarted")
        lab.wait_ready(8)
        ended = container(lab, "client").last_state.terminated
        assert ended and ended.exit_code == 137

    testbed(inside, manifests=CLIENT)


def test_what_the_shared_server_serves_ends_when_it_is_killed_and_another_serves_it_anew(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, HELLO)
        address = pod(lab, "a").status.pod_ip
        ask = f"curl -s -o /dev/null -w '%{{http_code}}' http://{address}/"
        assert out(lab, "client", ask) == "200"

        def kill() -> None:
            (server,) = out(lab, "node1", "pgrep -x 'emu workloads'").split()
            os.kill(int(server), signal.SIGKILL)

        kill()
        wait_until(lambda: container(lab, "a").restart_count == 1 and container(lab, "a").ready, "served anew")
        ended = container(lab, "a").last_state.terminated
        assert ended and (ended.exit_code, ended.reason) == (137, "Error")
        assert out(lab, "client", ask) == "200"

        kill()
        wait_until(lambda: pod_status(pod(lab, "a")) == "CrashLoopBackOff", "it has crashed twice")
        apply(lab, HELLO.replace("name: a", "name: b"))  # another does not wait
        assert container(lab, "client").state.running and container(lab, "client").restart_count == 0

    testbed(inside, manifests=CLIENT)


HELLO = """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: hello, image: nginxdemos/hello}]}
"""


@pytest.mark.parametrize(
    ("policy", "script", "phase", "shown"),
    [
        ("Never", "exit 0", "Succeeded", "Completed"),
        ("Never", "exit 4", "Failed", "Error"),
        ("OnFailure", "exit 0", "Succeeded", "Completed"),
        ("Never", "kill -9 $$$$", "Failed", "Error"),
    ],
)
def test_a_program_that_ends_for_good_decides_the_pods_phase(
    testbed: Labs, policy: str, script: str, phase: str, shown: str
) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, program("once", script, of_pod=f"restartPolicy: {policy}"), ready=False)
        wait_until(lambda: pod(lab, "once").status.phase == phase, phase)
        assert pod_status(pod(lab, "once")) == shown
        code = 137 if "kill" in script else int(script[-1])
        ended = container(lab, "once").state.terminated
        assert ended and ended.exit_code == code

    testbed(inside, manifests=CLIENT)


def test_a_missing_program_is_said_so(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        wrong = program("lost", "exit").replace("- sh\n", "- no-such-program\n")
        apply(lab, wrong, ready=False)
        wait_until(lambda: container(lab, "lost").last_state.terminated, "tried once")
        ended = container(lab, "lost").last_state.terminated
        assert ended and (ended.exit_code, ended.reason) == (128, "StartError")
        assert "no-such-program" in ended.message

    testbed(inside, manifests=CLIENT)


INIT = """
apiVersion: v1
kind: Pod
metadata: {name: staged}
spec:
  initContainers:
    - {name: one, image: busybox, command: [sh, -c, echo one >> /tmp/order]}
    - name: two
      image: busybox
      command: [sh, -c, 'until nslookup empty.default.svc.cluster.local; do sleep 0.05; done; echo two >> /tmp/order']
  containers:
    - {name: main, image: busybox, command: [sh, -c, echo main >> /tmp/order; exec sleep infinity]}
"""

EMPTY = """
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {ports: [{port: 80}]}
"""


def test_init_containers_run_one_after_the_other_before_the_main_one(testbed: Labs) -> None:
    """The second waits for a Service, as the example in Kubernetes' documentation does."""

    def inside(lab: Testbed) -> None:
        apply(lab, INIT, ready=False)
        wait_until(lambda: pod_status(pod(lab, "staged")) == "Init:1/2", "the first is done")
        assert container(lab, "staged").state.waiting
        apply(lab, EMPTY)
        assert pod_status(pod(lab, "staged")) == "Running"
        wait_until(lambda: out(lab, "staged", "cat /tmp/order").split() == ["one", "two", "main"], "the order")

    testbed(inside, manifests=CLIENT)


def test_a_failing_init_container_keeps_the_main_one_from_starting(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, INIT.replace("echo one >> /tmp/order", "exit 1"), ready=False)
        wait_until(lambda: pod_status(pod(lab, "staged")) == "Init:CrashLoopBackOff", "it is tried again and again")
        assert not container(lab, "staged").state.running
        assert pod(lab, "staged").status.phase == "Pending"

    testbed(inside, manifests=CLIENT)


PROBED = """
---
apiVersion: v1
kind: Service
metadata: {name: probed}
spec:
  selector: {app: probed}
  ports: [{port: 80, targetPort: 8000}]
"""

SERVER = "mkdir /tmp/www; cd /tmp/www; touch index.html; exec python3 -u -m http.server 8000"

NC = "nc -lk -p 8001 > /dev/null 2>&1 & echo $! > /tmp/nc"


@pytest.mark.parametrize(
    ("probe", "good", "bad"),
    [
        ("httpGet: {path: /ready, port: 8000}", "touch /tmp/www/ready", "rm /tmp/www/ready"),
        ("exec: {command: [test, -e, /tmp/ready]}", "touch /tmp/ready", "rm /tmp/ready"),
        ("tcpSocket: {port: 8001}", NC, "kill $(cat /tmp/nc)"),
    ],
    ids=["http", "exec", "tcp"],
)
def test_a_pod_is_an_endpoint_while_its_readiness_probe_succeeds(
    testbed: Labs, probe: str, good: str, bad: str
) -> None:
    def inside(lab: Testbed) -> None:
        more = f"readinessProbe: {{{probe}, periodSeconds: 1, failureThreshold: 1}}"
        apply(lab, program("probed", SERVER, more) + PROBED, ready=False)
        address = pod(lab, "probed").status.pod_ip
        wait_until(lambda: run(lab, "client", f"curl -s {address}:8000").code == 0, "the program answers")
        assert endpoints(lab, "probed") == []
        assert run(lab, "client", "curl -s probed").code == 7
        out(lab, "probed", good)
        wait_until(lambda: endpoints(lab, "probed") == [address], "ready")
        assert out(lab, "client", "curl -s -o /dev/null -w '%{http_code}' probed") == "200"
        assert pod_status(pod(lab, "probed")) == "Running"
        out(lab, "probed", bad)
        wait_until(lambda: endpoints(lab, "probed") == [], "no longer ready")
        assert run(lab, "client", "curl -s probed").code == 7
        assert container(lab, "probed").restart_count == 0

    testbed(inside, manifests=CLIENT)


def test_a_probe_is_a_request_of_the_node_over_the_wire(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, program("probed", SERVER, "readinessProbe: {httpGet: {path: /, port: 8000}, periodSeconds: 1}"))
        assert lab.plan
        recorder = Recorder(points(lab.plan, ["pod/probed"]), opener(lab.host.netns))
        seen = log(lab, "probed").count("GET / ")
        wait_until(lambda: log(lab, "probed").count("GET / ") > seen, "one more probe")
        records = [decode(frame) for frame in recorder.stop().frames]
        syn = next(each.inner for each in records if each.inner and each.inner.note == "SYN")
        assert (str(syn.src), str(syn.dst), syn.dport) == ("10.244.1.1", pod(lab, "probed").status.pod_ip, 8000)
        assert "10.244.1.1 - - [" in log(lab, "probed")

    testbed(inside, manifests=CLIENT)


def test_a_failing_liveness_probe_restarts_the_container(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        more = 'livenessProbe: {exec: {command: [test, "!", -e, /tmp/sick]}, periodSeconds: 1, failureThreshold: 2}'
        apply(lab, program("alive", "rm -f /tmp/sick; echo started; exec sleep infinity", more))
        out(lab, "alive", "touch /tmp/sick")
        wait_until(lambda: container(lab, "alive").restart_count == 1, "restarted")
        wait_until(lambda: container(lab, "alive").state.running, "running again")
        ended = container(lab, "alive").last_state.terminated
        assert ended and ended.exit_code == 143

    testbed(inside, manifests=CLIENT)


def test_a_deleted_pod_gets_sigterm_and_time_to_end(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        script = "trap 'echo got TERM; sleep 0.3; echo done; exit 0' TERM\necho up\nwhile :; do sleep 0.05; done"
        apply(lab, program("polite", script))
        wait_until(lambda: "up" in log(lab, "polite"), "the trap is set")
        with lab.logs("default", "polite").open() as output:
            lab.delete([("Pod", "default", "polite")])
            assert pod_status(pod(lab, "polite")) == "Terminating"
            wait_until(lambda: is_gone(lab, "Pod", "polite"), "the Pod is gone")
            assert output.read() == "up\ngot TERM\ndone\n"

    testbed(inside, manifests=CLIENT)


def test_what_ignores_sigterm_is_killed_after_the_grace_period(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        script = "trap 'echo no' TERM\necho up\nwhile :; do sleep 0.05; done"
        apply(lab, program("stubborn", script, of_pod="terminationGracePeriodSeconds: 1"))
        wait_until(lambda: "up" in log(lab, "stubborn"), "the trap is set")
        with lab.logs("default", "stubborn").open() as output:
            lab.delete([("Pod", "default", "stubborn")])
            wait_until(lambda: is_gone(lab, "Pod", "stubborn"), "the Pod is gone")
            assert output.read() == "up\nno\n"

    testbed(inside, manifests=CLIENT)


def test_a_daemon_that_forked_twice_goes_with_its_pod(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        apply(lab, program("spawner", "(setsid sh -c 'setsid sleep 54321 &' &)\nexec sleep infinity"))
        wait_until(lambda: commands(lab, "sleep 54321"), "the daemon runs")
        lab.delete([("Pod", "default", "spawner")], 0)
        wait_until(lambda: is_gone(lab, "Pod", "spawner"), "the Pod is gone")
        assert not commands(lab, "sleep 54321")

    testbed(inside, manifests=CLIENT)


def commands(lab: Testbed, wanted: str) -> Sequence[str]:
    """Of all processes of the lab: a Node shares its PID namespace with the lab."""
    return [line for line in out(lab, "node1", "ps axo args").splitlines() if line == wanted]
