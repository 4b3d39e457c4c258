from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from trace_results import as_predicted, lost_at_the_tunnel

from emu.report import html, junit, text
from emu.report import json as as_json
from emu.trace.model import TraceResult


def test_a_trace_reads_hop_by_hop_with_what_changed_and_why() -> None:
    assert text.trace_text(as_predicted(), color=False) == (
        """default/client → web:80 (tcp)
  ✓ the observed path is the predicted one

forward   delivered
  1 ✓ default/client  |→ eth0                                                                  +0 µs
      10.244.1.2:40000 → 10.244.2.2:80  tcp ttl 64  SYN
  2 ✓ node1  →| cni0                                                                           +2 µs
      10.244.1.2:40000 → 10.244.2.2:80  tcp ttl 64  SYN
      chain     PREROUTING → KUBE-SERVICES → KUBE-SEP-AAAAAAAAAAAAAAAA
      rule      -t nat -A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m comment --comment "default/web:http"
                -m tcp -j DNAT --to-destination 10.244.2.2:8080
      route     10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink  ⇒ to flannel.1
  3 ✓ node1  |→ flannel.1                                                                      +3 µs
      10.244.1.2:40000 → 10.244.2.2:80  tcp ttl 63  SYN
      ttl 64 → 63
  4 ✓ node1  |→ eth0                                                                           +4 µs
      10.244.1.2:40000 → 10.244.2.2:80  tcp ttl 63  SYN
      VXLAN 1 in 192.168.100.11 → 192.168.100.12:8472  udp ttl 64
      VXLAN to 192.168.100.12
  5 ✓ node2  →| eth0                                                                           +5 µs
      10.244.1.2:40000 → 10.244.2.2:80  tcp ttl 63  SYN
      VXLAN 1 in 192.168.100.11 → 192.168.100.12:8472  udp ttl 64

answer    hello
"""
    )


def test_a_lost_packet_is_said_first_and_shown_where_it_was_expected() -> None:
    lines = text.trace_text(lost_at_the_tunnel(), color=False).splitlines()
    assert lines[1:3] == [
        "  ✗ forward hop 4: expected to leave node1 through eth0 (10.244.1.2:40000 → 10.244.2.2:80, VXLAN to",
        "    192.168.100.12), but the packet was last seen at node1:flannel.1",
    ]
    assert "    ✗ node1  |→ eth0  predicted, not seen" in lines
    assert "drift     node1: FDB entry 02:00:00:00:00:02 dev flannel.1: missing" in lines
    assert "warning   2 packets were lost by the capture" in lines


def test_a_path_whose_reasons_were_lost_is_not_called_proven() -> None:
    result = replace(as_predicted(), unproven="the kernel had more trace events than there was room for (node1)")
    assert not result.ok
    said = "not proven: the kernel had more trace events than there was room for (node1)"
    assert text.trace_text(result, color=False).splitlines()[1] == f"  ✗ {said}"
    assert "0 of 1 paths are as predicted" in text.summary([result], color=False)
    assert said in junit.junit("all", [result])


@pytest.mark.parametrize("result", [as_predicted(), lost_at_the_tunnel()])
def test_no_line_is_wider_than_a_hundred_columns(result: TraceResult) -> None:
    assert max(map(len, text.trace_text(result, color=False).splitlines())) <= 100


def test_colors_change_nothing_but_the_color() -> None:
    for result in (as_predicted(), lost_at_the_tunnel()):
        colored = text.trace_text(result, color=True)
        assert "\x1b[" in colored
        assert re.sub(r"\x1b\[\d+m", "", colored) == text.trace_text(result, color=False)


def test_the_summary_counts_what_went_as_predicted() -> None:
    lines = text.summary([as_predicted(), lost_at_the_tunnel()], color=False).splitlines()
    assert lines[:2] == ["✓ default/client → web:80 (tcp)", "✗ default/client → web:80 (tcp)"]
    assert lines[-1] == "1 of 2 paths are as predicted"


def test_json_has_the_models_names_and_says_whether_all_is_well() -> None:
    whole = json.loads(as_json.traces_json([as_predicted(), lost_at_the_tunnel()]))
    assert whole["ok"] is False
    good, bad = whole["results"]
    assert (good["ok"], good["matched"], bad["ok"], bad["matched"]) == (True, 0, False, None)
    assert good["observed"]["forward"]["hops"][3]["encapsulation"]["outer"]["dst"] == "192.168.100.12"
    assert bad["difference"]["what"].startswith("forward hop 4: ")


def test_junit_has_a_case_for_each_request_and_the_difference_as_the_failure() -> None:
    root = ElementTree.fromstring(junit.junit("lab", [as_predicted(), lost_at_the_tunnel()]))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite.findall("testcase")[1].find("failure")
    assert failure is not None
    assert (failure.get("message") or "").startswith("forward hop 4: ")
    assert "predicted, not seen" in (failure.text or "")


class _Balance(HTMLParser):
    """Every element that is opened is closed; nothing is loaded from anywhere."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


def test_the_page_stands_on_its_own_and_draws_every_leg() -> None:
    page = html.trace_page([as_predicted(), lost_at_the_tunnel()], "lab")
    reader = _Balance()
    reader.feed(page)
    assert reader.stack == []
    assert page.count("<svg") == 2
    assert "timed out &lt;after&gt; 5 s" in page
    assert "1 of 2 paths are as predicted." in page
