"""Steps run in order, tell their listeners, and stop at the first failure; what came of them is written four ways."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from small_testbed import SmallTestbed, parsed

from emu.experiment import runner, tracejson
from emu.experiment.model import Result, StepEvent
from emu.experiment.reports import REPORTS
from emu.experiment.testbed import Ran
from emu.report.json import trace_object

STEPS = """
- run: {in: client, command: "one"}
- run: {in: client, command: "two"}
  continue: true
  name: the second <fails>
- expect path: {from: client, to: client2}
- run: {in: client, command: "four"}
- run: {in: client, command: "five"}
"""


def result(tmp_path: Path, events: list[StepEvent] | None = None) -> Result:
    experiment = parsed(STEPS)
    failing = ("two", "four")
    testbed = SmallTestbed(experiment, lambda _, argv: Ran(int(argv[-1] in failing), f"said \x07{argv[-1]}"))
    return runner.run(experiment, testbed, tmp_path, [events.append] if events is not None else [])


def test_a_run_goes_on_after_a_failure_only_where_the_script_says_so(tmp_path: Path) -> None:
    found = result(tmp_path)
    assert [str(each.outcome) for each in found.steps] == ["passed", "failed", "passed", "failed", "not run"]
    assert not found.ok


def test_listeners_are_told_of_every_step_before_and_after(tmp_path: Path) -> None:
    events: list[StepEvent] = []
    result(tmp_path, events)
    assert [(each.index, each.result is None) for each in events] == [
        (index, before) for index in range(5) for before in (True, False)
    ]
    assert {each.total for each in events} == {5}


def test_what_a_step_did_in_the_lab_can_be_pasted(tmp_path: Path) -> None:
    assert result(tmp_path).steps[0].commands == ("default/client# sh -c one",)


def test_json_has_every_step_and_every_path(tmp_path: Path) -> None:
    document = json.loads(REPORTS["result.json"](result(tmp_path)))
    assert (document["ok"], document["topology"]) == (False, "two-node-flannel-vxlan")
    assert document["steps"][1]["expected"] == "exit status 0"
    assert document["steps"][2]["paths"][0]["matched"] == 0


def test_junit_has_a_case_for_each_step_and_survives_what_xml_forbids(tmp_path: Path) -> None:
    suite = ElementTree.fromstring(REPORTS["junit.xml"](result(tmp_path)))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "2", "1")
    assert suite[1].get("name") == "2. the second <fails>"
    assert (suite[1][0].tag, suite[1][0].get("message")) == ("failure", "expected exit status 0, got 1")


def test_the_page_stands_on_its_own_and_draws_the_path(tmp_path: Path) -> None:
    page = REPORTS["report.html"](result(tmp_path))
    assert "the second &lt;fails&gt;" in page
    assert page.count("<svg") == 2  # there and back
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_text_has_a_line_for_each_step_and_what_a_failing_one_expected(tmp_path: Path) -> None:
    lines = REPORTS["report.txt"](result(tmp_path)).splitlines()
    assert any(line.startswith("  2 ✗ the second <fails>") for line in lines)
    assert "      expected exit status 0" in lines
    assert lines[-1].startswith("written-in-a-test on two-node-flannel-vxlan: 2 of 5 steps passed, 2 failed, 1 not run")


def test_a_traces_result_comes_back_from_its_json_as_it_was(tmp_path: Path) -> None:
    (traced,) = result(tmp_path).steps[2].paths
    assert tracejson.trace_result(json.loads(json.dumps(trace_object(traced)))) == traced
