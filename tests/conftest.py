"""What every test relies on."""

import fcntl
import os
import re
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# A shell that starts something in the background has it ignore SIGINT, and everything started from there too.
signal.signal(signal.SIGINT, signal.default_int_handler)
# So has nohup(1) for SIGHUP. A handler that does nothing still keeps this process, and is not passed on.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="where everything is there: a skipped test has failed")


#: Whose name says that they load eBPF programs: modes, lessons, pages, and what tries every mode or feature.
LOADS_EBPF = re.compile(
    r"tests/(kernel|e2e)/.*"
    r"(cilium|ipip|bpf|compar|test_sizes|test_features|test_predictions|\[README|experiments\.md|documentation)"
)
TURNS = Path(tempfile.gettempdir(), "kube-emu-tests-ebpf.lock")


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """eBPF objects are the machine's, whatever namespace they are for: while one test counts them, by `leaks`, no other
    may load any, nor count. An ordinary user's do neither."""
    counts = hasattr(request.module, "leaks") or hasattr(request.module, "machine")
    if os.geteuid() or not (counts or LOADS_EBPF.match(request.node.nodeid)):
        yield
        return
    with TURNS.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if counts else fcntl.LOCK_SH)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _not_skipped(item.config, (yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _not_skipped(collector.config, (yield))


def _not_skipped(config: pytest.Config, report: Report) -> Report:
    if report.outcome == "skipped" and config.getoption("--no-skips"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{reason}, and --no-skips"
    return report
