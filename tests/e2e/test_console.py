"""The checker of the documents finds what is wrong with one. No root is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.console import agrees, problems, run, steps


def _problems(block: str, tmp_path: Path) -> list[str]:
    wanted = steps(f"words\n\n```console\n{block}\n```\n", "page.md")
    return list(problems(wanted, run(wanted, tmp_path, {"PATH": "/usr/bin:/bin"})))


def test_a_true_document_passes(tmp_path: Path) -> None:
    assert not _problems("$ echo one; echo two >&2\none\ntwo\n\n$ false\n$ echo $?\n1", tmp_path)


def test_output_that_is_not_the_command_s_is_found_with_its_line(tmp_path: Path) -> None:
    (found,) = _problems("$ echo one\none\n$ echo two\nthree", tmp_path)
    assert found == "page.md:6: $ echo two\nthe document says\nthree\nand it is\ntwo"


@pytest.mark.parametrize("block", ["$ echo one\n", "$ echo one\none\ntwo", "$ printf 'one\\ntwo\\n'\none", "$ :\none"])
def test_a_line_too_many_or_too_few_is_found(block: str, tmp_path: Path) -> None:
    assert _problems(block, tmp_path)


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    (found,) = _problems("$ exec_nothing\n…", tmp_path)
    assert "ended with 127" in found


def test_a_shell_that_ends_early_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:4"):
        _problems("$ exit 3\n$ echo on", tmp_path)


def test_one_shell_runs_a_whole_document_and_commands_may_have_several_lines(tmp_path: Path) -> None:
    assert not _problems("$ cd /; x=5\n$ cat <<'END'\n> a\n> b\n> END\na\nb\n$ echo $x $PWD\n5 /", tmp_path)


def test_only_console_blocks_are_run() -> None:
    assert steps("```text\n$ rm -rf /\n```\n```sh\nmake demo\n```\n") == ()


def test_a_yaml_block_that_names_a_file_is_put_there(tmp_path: Path) -> None:
    wanted = steps(
        "```yaml\n# a/b.yaml\nx: $HOME\n```\n```yaml\ny: 1\n```\n```console\n$ tail -n1 a/b.yaml\nx: $HOME\n```\n"
    )
    assert len(wanted) == 2
    assert not list(problems(wanted, run(wanted, tmp_path, {"PATH": "/usr/bin:/bin"})))


def test_an_ellipsis_stands_for_characters_or_for_lines() -> None:
    assert agrees(["pid … of …x"], ["pid 77 of max"])
    assert agrees(["a", "…", "d"], ["a", "b", "c", "d"])
    assert agrees(["a", "…"], ["a"])
    assert not agrees(["a", "…", "d"], ["a", "b", "c"])
    assert not agrees(["pid … of"], ["pid 77"])


def test_what_changes_from_run_to_run_is_not_compared_and_all_else_is() -> None:
    assert agrees(["web   1/1   3s    10.244.1.2:45678   +17 µs"], ["web  1/1  2m10s   10.244.1.2:33333  +250 µs"])
    assert agrees(["dev eth0 lladdr 52:73:ab:32:06:5a STALE"], ["dev eth0 lladdr 52:73:ab:32:06:5a REACHABLE"])
    assert not agrees(["dev eth0 lladdr 52:73:ab:32:06:5a STALE"], ["dev eth0 lladdr 52:73:ab:32:06:5a FAILED"])
    assert not agrees(["10.244.1.2:8080"], ["10.244.1.2:8081"])
    assert not agrees(["80:30080/TCP"], ["80:30081/TCP"])
