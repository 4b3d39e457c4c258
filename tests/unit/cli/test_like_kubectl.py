"""`emu` prints what the real kubectl prints of the same API."""

from __future__ import annotations

import pytest
from apitestbed import filled
from served import end, kubectl_of, serve

KINDS = ("pods", "svc", "ep", "endpointslices", "deploy", "rs", "ds", "no", "ns")
READING = [
    *(f"get {kind} -A -o wide" for kind in KINDS),
    "get all",
    "get po,svc --show-labels",
    "get pods -l app=web,app!=client -o name",
    "get pods -l app=web --no-headers --field-selector spec.nodeName=node1",
    "get pod/client svc/web",
    "get pod client -o yaml",
    "get svc,ep -o yaml",
    "get deploy web -o json",
    "get ds -A -o json",
    "get pods -n nowhere",
    "get pods -l app=nothing -A",
    "get pod nothing client",
    "get deployment nothing -o json",
    "delete pod nothing",
    "logs client --tail=1",
]
WRITING = [
    "scale deployment web --replicas=3",
    "delete pod client",
    "delete deploy/web svc/web",
    "delete pods -l app=client --grace-period=1",
]


@pytest.fixture(scope="module")
def twins(tmp_path_factory, kubectl_home):
    """Two testbeds that nobody writes to: the first one's runtime directory, and kubectl for the other."""
    import socket

    directory = tmp_path_factory.mktemp("twins")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kubectl = kubectl_of(listener.getsockname()[1], kubectl_home)
        children = [serve("test", directory / "run"), serve("twin", directory / "twin", filled, listener)]
        yield directory / "run", kubectl
        for child in children:
            end(child)


@pytest.mark.parametrize("line", READING)
def test_reading_prints_the_same(line, emu, twins, monkeypatch):
    directory, kubectl = twins
    monkeypatch.setenv("EMU_RUNTIME_DIR", str(directory))
    _compare(emu(*line.split()), kubectl(*line.split()))


@pytest.mark.parametrize("line", WRITING)
def test_writing_prints_and_does_the_same(line, emu, testbed, kubectl):
    _compare(emu(*line.split()), kubectl(*line.split()))
    after = ("get", "deploy,rs,pods,svc,ep", "-o", "wide")
    _compare(emu(*after), kubectl(*after))


def _compare(ours, theirs):
    assert (ours.out, _errors(ours.err)) == (theirs.out, _errors(theirs.err))
    assert bool(ours.code) == bool(theirs.code)


def _errors(text):
    """Our hints come on top."""
    return [line for line in text.splitlines() if not line.startswith("  hint: ")]


#: What describe leaves out, as it has no meaning here.
LEFT_OUT = ("StrategyType:", "MinReadySeconds:")


@pytest.mark.parametrize(
    "name",
    [
        "pod/client",
        "pods",
        "deploy/web",
        "svc/web",
        "svc/headless",
        "ep/web",
        "ds/agent",
        "rs",
        "endpointslices",
        "ns/default",
    ],
)
def test_describe_tells_the_same_lines(name, emu, twins, monkeypatch):
    directory, kubectl = twins
    monkeypatch.setenv("EMU_RUNTIME_DIR", str(directory))
    theirs = [each for each in _lines(kubectl("describe", name).out) if not each.startswith(LEFT_OUT)]
    assert _lines(emu("describe", name).out) == theirs


def _lines(text):
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", ["ep/web", "svc/web", "pod/client"])
def test_describe_aligns_as_kubectl_does(name, emu, twins, monkeypatch):
    directory, kubectl = twins
    monkeypatch.setenv("EMU_RUNTIME_DIR", str(directory))
    ours, theirs = emu("describe", name).out, kubectl("describe", name).out
    assert ours.rstrip() == theirs.rstrip()


def test_kubectl_describes_every_kind_there_is(twins):
    _, kubectl = twins
    for kind in KINDS:
        assert kubectl("describe", kind).code == 0, kind
