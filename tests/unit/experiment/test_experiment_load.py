"""A wrong script is refused before anything starts, with its line, its step and the field."""

from __future__ import annotations

from pathlib import Path

import pytest
from documented import examples, script
from small_testbed import FILE, parsed

from emu.errors import InputError
from emu.experiment import load
from emu.experiment.steps import STEPS


def refused(steps: str) -> str:
    """The message without the file's name. The first step stands in line 3."""
    with pytest.raises(InputError) as caught:
        parsed(steps)
    return str(caught.value).replace(f"{FILE}:", "line ")


@pytest.mark.parametrize("title", examples())
def test_every_example_of_the_documentation_is_right_after_those_before_it(title: str) -> None:
    before = dict(list(examples().items())[: list(examples()).index(title) + 1])
    assert parsed("".join(before.values())).steps


def test_the_documentation_has_an_example_of_every_kind_of_step() -> None:
    text = "".join(examples().values())
    assert [each.NAME for each in STEPS if f"{each.NAME}:" not in text] == []


#: Steps → what the message has after file, line 3 and "step 1".
WRONG = {
    "- pign: {}": ": there is no kind of step pign; did you mean ping?",
    "- ping: client": ", ping: client stands here, must be a mapping",
    "- ping: {from: client, to: client2}\n  run: {}": ": has ping and run, must have exactly one kind of step",
    "- ping: {from: client, to: nowhere}": ", ping: to is nowhere: no Pod, Node, Service or address is called",
    "- run: {in: client, comand: ls}": ", run: comand is not a field of Run; did you mean command?",
    "- run: {in: client}": ", run: command is missing",
    "- run: {in: cleint, command: ls}": ", run: in is cleint, and no Pod or Node is called so; did you mean client",
    "- run: {in: app=ngnix, command: ls}": ", run: in is app=ngnix, and no Pod has these labels",
    "- run: {in: client, command: ls, matches: '('}": ", run: matches is no regular expression",
    "- scale: {what: deploy/nginx-helo, replicas: 2}": ", scale: what is nginx-helo, and there is no such Deploy",
    "- scale: {what: service/web, replicas: 2}": ", scale: a Service has no replicas",
    "- delete: deploiment/web": ", delete: what[0] is deploiment/web: the server doesn't have a resource type",
    "- request: {from: client, to: web, answered_by: app=web, evenly: true}": ", request: times is 1: for 2 Pods to be",
    "- mend: {link: 'node1:eth0'}": ", mend: no earlier step breaks link node1:eth0",
    "- break: {on: node1}": ", break: has nothing to break, must have exactly one of link, route",
    "- break: {link: 'node1:eth7'}": ", break: link is node1:eth7, and no interface is called so; did you mean node1:e",
    "- capture: {stop: a}": ", capture: stop is a, and no capture of that name is under way",
    "- capture: {start: a, at: nod1}": ", capture: at[0] is nod1: no interface to capture is called 'nod1'",
    "- expect queries: {in: a, at: 'client:eth0', count: 1}": ", expect queries: in is a, and no earlier step starts",
    "- expect path: {from: client, to: web, through: 'node1:cni1'}": ", expect path: through[0] is node1:cni1, and no",
    "- expect path: {from: client, to: web, encapsulation: geneve}": ", expect path: encapsulation is geneve, must",
    "- expect table: {of: podds, count: 1}": ", expect table: of is podds: the server doesn't have a resource type",
    "- wait until: {timeout_s: soon, run: {in: client, command: ls}}": ", wait until: timeout_s is soon, must be a n",
    "- wait until: soon": ", wait until: soon stands here, must be a mapping: a step, and timeout_s",
    "- wait until: {scale: {what: deployment/web, replicas: 1}}": ", wait until: scale cannot be waited for",
    "- apply: nowhere.yaml": f", apply: {FILE.parent / 'nowhere.yaml'}: cannot be read: No such file or directory",
}


@pytest.mark.parametrize("steps", WRONG)
def test_what_is_wrong_is_named_with_line_step_and_field(steps: str) -> None:
    assert refused(steps).startswith(f"line 3: step 1{WRONG[steps]}")


def test_the_line_is_that_of_the_field() -> None:
    steps = "- run:\n    in: client\n    command: ls\n    timeout_s: soon"
    assert refused(steps).startswith('line 6: step 1, run: timeout_s is the text "soon", must be a whole number')


MADE = """
- apply:
    manifest: |
      apiVersion: v1
      kind: Pod
      metadata: {name: new}
      spec:
        containers: [{name: shell, image: nicolaka/netshoot}]
"""


def test_a_wrong_manifest_inside_a_step_is_named_with_its_own_line() -> None:
    message = refused(MADE.replace("image:", "imagge:"))
    assert message.startswith("line 10: Pod default/new: spec.containers[0].imagge is not a field of Container")


def test_a_step_may_name_what_an_earlier_one_makes_and_not_what_it_has_deleted() -> None:
    ping = "- ping: {from: client2, to: client}\n"
    assert parsed(ping).steps
    assert "from is client2, and no Pod" in refused(f"- delete: pod/client2\n{ping}")
    assert "from is new, and no Pod" in refused("- ping: {from: new, to: client}")
    assert parsed(f"{MADE}- ping: {{from: new, to: client}}").steps


def test_what_is_mended_was_broken_and_is_mended_once() -> None:
    fault = "{fdb: flannel.1, to: node2, on: node1}"
    steps = f"- break: {fault}\n- mend: {fault}\n"
    assert parsed(steps)
    assert "no earlier step breaks fdb flannel.1 to node2 on node1" in refused(f"{steps}- mend: {fault}\n")


def test_a_field_that_no_experiment_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"yaml:1: topologgy is not a field of an experiment; did you mean topology\?"):
        load.parse("topologgy: ..\nsteps: []\n", FILE)


def test_an_experiment_runs_on_another_topology_if_told_so(tmp_path: Path) -> None:
    other = tmp_path / "topology.yaml"
    other.write_text("name: other\nnodes: 1\ncni: flannel-vxlan\n")
    text = "topology: nowhere\nsteps: [{run: {in: node1, command: ls}}]"
    assert load.parse(text, FILE, other).topology.name == "other"
    with pytest.raises(InputError, match="yaml:1: topology is nowhere, and there is no such file or folder"):
        load.parse(text, FILE)


def test_a_name_that_cannot_be_a_folders_is_refused() -> None:
    with pytest.raises(InputError, match=r"yaml:1: name is \.\./x, must be of letters, digits"):
        load.parse("name: ../x\nsteps: [{run: {in: node1, command: ls}}]", FILE)


def test_the_topology_is_by_default_the_folder_above_the_experiments() -> None:
    assert load.parse("steps: [{ping: {from: client, to: client2}}]", FILE).topology.name == "two-node-flannel-vxlan"
    assert load.parse(script("- ping: {from: client, to: client2}"), FILE).name == "written-in-a-test"
