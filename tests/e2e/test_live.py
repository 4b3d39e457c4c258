"""A running cluster changes: endpoints, rules and names follow, and nothing else is touched."""

from __future__ import annotations

import pytest
from inside import addresses, endpoints, out
from labs import Labs

from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root


def test_a_service_answers_and_a_second_reconcile_changes_nothing(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        assert out(lab, "client", "curl -sI nginx-svc").startswith("HTTP/1.1 200 OK")
        assert endpoints(lab, "nginx-svc") == addresses(lab, "nginx") != []
        assert not lab.reconcile()

    testbed(inside)
