import signal
from dataclasses import replace

import pytest
from kubelet_lab import Lab, pod, process

from emu.errors import InputError


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path / "logs")


def test_a_pod_that_runs(lab):
    status = lab.start(pod())
    assert (status.phase, status.pod_ip, status.host_ip) == ("Running", "127.0.0.1", "192.168.100.11")
    assert status.start_time == "2024-01-01T00:00:00Z"
    assert lab.container.state.running.started_at == "2024-01-01T00:00:00Z"
    assert (lab.container.ready, lab.container.started, lab.container.image) == (True, True, "app:1")
    assert [(each.type, each.status) for each in status.conditions] == [
        ("Initialized", "True"),
        ("Ready", "True"),
        ("ContainersReady", "True"),
        ("PodScheduled", "True"),
    ]


def test_one_start_is_one_report(lab):
    lab.start(pod(process("a"), process("b"), process("web", serve="hello")))
    assert len(lab.reports) == 1


def test_pods_that_start_together_are_reported_together(lab):
    for name in ("web-0", "web-1", "web-2"):
        lab.kubelet.start(f"default.{name}", replace(pod(), name=name))
    lab.settle()
    assert (lab.tellings, len(lab.reports)) == (1, 3)


def test_a_served_container_gets_its_ports(lab):
    lab.start(pod(process("dns", "-conf", "/etc/coredns/Corefile", serve="coredns")))
    assert lab.runtime.last.roles == ("udp", "tcp", "upstream", "health", "ready", "metrics")
    assert ("default.web-0", "udp", 53) in lab.runtime.taken


def test_the_second_container_on_a_port_fails_as_on_linux(lab):
    lab.start(pod(process("one", serve="hello"), process("two", serve="hello")))
    one, two = lab.status.container_statuses
    assert one.ready
    assert (two.state.terminated.exit_code, two.state.terminated.reason) == (1, "Error")
    log = lab.kubelet.log_path("default", "web-0", "two").read_text()
    assert "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\n" in log
    assert lab.condition("Ready").message == "containers with unready status: [two]"
    lab.advance(1)
    two = lab.status.container_statuses[1]
    assert (two.restart_count, two.state.waiting.reason) == (1, "CrashLoopBackOff")
    assert two.last_state.terminated.exit_code == 1


def test_restarts_wait_ever_longer(lab):
    lab.start(pod())
    waits = []
    for _ in range(8):
        lab.runtime.last.end(1)
        lab.settle()
        began, runs = lab.clock.now, len(lab.runtime.started)
        waits.append(lab.container.state.waiting.message.split()[1] if lab.container.state.waiting else "")
        while len(lab.runtime.started) == runs:
            lab.advance(1)
        waits.append(lab.clock.now - began)
    assert waits[::2] == ["", "10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]
    assert waits[1::2] == [1, 10, 20, 40, 80, 160, 300, 300]
    assert lab.container.restart_count == 8


def test_the_back_off_is_told_in_the_kubelets_words(lab):
    lab.start(pod())
    for _ in range(2):
        lab.runtime.last.end(137)
        lab.settle()
        lab.advance(1)
    waiting = lab.container.state.waiting
    assert waiting.reason == "CrashLoopBackOff"
    assert waiting.message == (
        "back-off 10s restarting failed container=app pod=web-0_default(11111111-2222-4333-8444-555555555555)"
    )


def test_a_long_run_clears_the_back_off(lab):
    lab.start(pod())
    shown = []
    for run_s in (0, 0, 580, 641):
        lab.advance(run_s)
        lab.runtime.last.end(1)
        lab.settle()
        shown.append(lab.container.state.waiting.message[:12] if lab.container.state.waiting else "ended")
        lab.advance(20)
    assert shown == ["ended", "back-off 10s", "back-off 20s", "ended"]


def test_how_a_container_ended(lab):
    lab.start(pod(policy="Never"))
    lab.advance(5)
    lab.runtime.last.end(-signal.SIGKILL)
    lab.settle()
    ended = lab.container.state.terminated
    assert (ended.exit_code, ended.reason) == (137, "Error")
    assert (ended.started_at, ended.finished_at) == ("2024-01-01T00:00:00Z", "2024-01-01T00:00:05Z")


@pytest.mark.parametrize(
    ("policy", "code", "phase", "again"),
    [
        ("Never", 0, "Succeeded", False),
        ("Never", 2, "Failed", False),
        ("OnFailure", 0, "Succeeded", False),
        ("OnFailure", 2, "Running", True),
        ("Always", 0, "Running", True),
    ],
)
def test_the_restart_policy(lab, policy, code, phase, again):
    lab.start(pod(policy=policy))
    lab.runtime.last.end(code)
    lab.settle()
    assert lab.status.phase == phase
    assert lab.condition("Ready").status == "False"
    lab.advance(30)
    assert (len(lab.runtime.started) == 2) is again


def test_a_finished_pod_says_so(lab):
    lab.start(pod(policy="Never"))
    lab.runtime.last.end(0)
    lab.settle()
    assert lab.condition("Ready").reason == "PodCompleted"
    assert lab.container.state.terminated.reason == "Completed"


def test_init_containers_come_one_after_the_other(lab):
    status = lab.start(pod(process("first", "a", init=True), process("second", "b", init=True), process("app", "c")))
    assert status.phase == "Pending"
    assert lab.condition("Initialized").message == "containers with incomplete status: [first second]"
    assert [each.state.waiting.reason for each in status.container_statuses] == ["PodInitializing"]
    assert [started.argv for started in lab.runtime.started] == [("a",)]
    lab.runtime.last.end(0)
    lab.settle()
    assert lab.condition("Initialized").message == "containers with incomplete status: [second]"
    lab.runtime.last.end(0)
    lab.settle()
    assert [started.argv for started in lab.runtime.started] == [("a",), ("b",), ("c",)]
    assert (lab.status.phase, lab.condition("Initialized").status) == ("Running", "True")
    assert all(each.ready for each in lab.status.init_container_statuses)


def test_an_init_container_that_fails_is_tried_again_and_nothing_else_starts(lab):
    lab.start(pod(process("setup", "a", init=True), process("app", "b")))
    lab.runtime.last.end(1)
    lab.settle()
    lab.advance(1)
    assert [started.argv for started in lab.runtime.started] == [("a",), ("a",)]
    assert lab.status.phase == "Pending"


def test_an_init_container_that_may_not_be_tried_again_fails_the_pod(lab):
    lab.start(pod(process("setup", "a", init=True), process("app", "b"), policy="Never"))
    lab.runtime.last.end(1)
    lab.settle()
    assert lab.status.phase == "Failed"
    assert len(lab.runtime.started) == 1


def test_a_program_that_is_not_there_never_started(lab):
    lab.runtime.programs_missing.add("nosuch")
    lab.start(pod(process("app", "nosuch")))
    ended = lab.container.state.terminated
    assert (ended.exit_code, ended.reason) == (128, "StartError")
    assert ended.message == (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        'unable to start container process: exec: "nosuch": executable file not found in $PATH: unknown'
    )


def test_arguments_are_taken_as_they_are(lab):
    """The cluster has put in the variables; a second time would take `$$` for `$`."""
    lab.start(pod(process("app", "echo", "$(HOST)", "$$", env={"HOST": "10.96.10.10"})))
    assert lab.runtime.last.argv == ("echo", "$(HOST)", "$$")


def test_output_goes_to_a_file_per_run(lab):
    lab.start(pod(process("app", "date", working_dir="/tmp")))
    path = lab.kubelet.log_path("default", "web-0")
    assert path.read_text() == "date in /tmp\n"
    with pytest.raises(InputError, match="previous terminated container"):
        lab.kubelet.log_path("default", "web-0", previous=True)
    lab.runtime.last.end(1)
    lab.advance(2)
    assert lab.kubelet.log_path("default", "web-0", previous=True) == path
    with pytest.raises(InputError, match="container sidecar is not valid for pod web-0"):
        lab.kubelet.log_path("default", "web-0", "sidecar")


def test_the_end_is_asked_for_before_it_is_forced(lab):
    lab.runtime.stubborn, done = True, []
    lab.start(pod(process("app"), process("web", serve="hello"), grace=30))
    log = lab.kubelet.log_path("default", "web-0")
    lab.kubelet.stop(pod(), lambda: done.append(lab.clock.now))
    lab.settle()
    app, web = lab.runtime.started
    assert (app.signals, web.signals, done) == ([signal.SIGTERM], [signal.SIGTERM], [])
    lab.advance(29)
    assert app.signals == [signal.SIGTERM]
    lab.advance(1)
    assert app.signals == [signal.SIGTERM, signal.SIGKILL]
    assert web.signals == [signal.SIGTERM]
    assert done == [1704067230.0]
    assert not log.exists()


def test_the_last_report_of_a_pod_shows_how_it_ended(lab):
    lab.start(pod())
    lab.kubelet.stop(pod(), lambda: None)
    lab.settle()
    assert lab.container.state.terminated.exit_code == 0
    assert lab.condition("Ready").status == "False"


def test_no_grace_is_no_sigterm(lab):
    done = []
    lab.start(pod())
    lab.kubelet.stop(pod(), lambda: done.append(1), grace_period_s=0)
    lab.settle()
    assert (lab.runtime.last.signals, done) == ([signal.SIGKILL], [1])


def test_a_pod_in_back_off_ends_at_once_and_stays_ended(lab):
    done = []
    lab.start(pod())
    lab.runtime.last.end(1)
    lab.settle()
    lab.kubelet.stop(pod(), lambda: done.append(1))
    lab.settle()
    lab.advance(400)
    assert (done, len(lab.runtime.started)) == ([1], 1)


def test_what_is_not_kept_is_done(lab):
    done = []
    lab.kubelet.stop(pod(), lambda: done.append(1))
    lab.settle()
    assert done == [1]


def test_a_changed_image_starts_the_container_anew(lab):
    lab.start(pod(process("app", "v1"), process("other", "x")))
    changed = process("app", "v2")
    lab.kubelet.update("default.web-0", pod(changed, process("other", "x")))
    lab.advance(1)
    assert [started.argv for started in lab.runtime.started] == [("v1",), ("x",), ("v2",)]


def test_a_changed_environment_waits_for_the_next_start(lab):
    lab.start(pod(process("app", env={"A": "1"})))
    lab.kubelet.update("default.web-0", pod(process("app", env={"A": "2"})))
    lab.advance(1)
    assert len(lab.runtime.started) == 1
    lab.runtime.last.end(1)
    lab.advance(1)
    assert lab.runtime.last.env == {"A": "2"}


def test_a_condition_keeps_its_time_while_it_holds(lab):
    lab.start(pod())
    lab.advance(5)
    lab.runtime.last.end(1)
    lab.settle()
    assert lab.condition("Initialized").last_transition_time == "2024-01-01T00:00:00Z"
    assert lab.condition("Ready").last_transition_time == "2024-01-01T00:00:05Z"


def test_late_news_of_an_earlier_run_changes_nothing(lab):
    lab.start(pod())
    first = lab.runtime.last
    first.end(1)
    lab.advance(1)
    first.end(1)
    lab.settle()
    assert lab.container.state.running
