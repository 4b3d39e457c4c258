"""The ```console blocks of a document: commands and what they print, run and compared.

`$ ` begins a command, `> ` goes on with it, everything else is output. In output `…` stands for any characters of a
line, and a line of `…` alone for any lines. What differs from run to run by nature (ages, times, a client's port, the
freshness of an ARP entry, the width of a column) is compared without its value. A command must end with 0 unless the
next one is `echo $?`. A ```yaml block that begins with a comment `# FOLDER/FILE.yaml` is written to that file first."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST_S = 120
_MARK = "\x1e"  # no program prints it
_ANY = "…"
_RUN = ("```console", "```yaml")
_FILE = re.compile(r"# (?P<folder>[\w./-]+)/(?P<name>[\w.-]+\.yaml)")
_EPHEMERAL = r"(?:3276[89]|327[7-9]\d|32[89]\d\d|3[3-9]\d{3}|[45]\d{4}|60\d{3})"  # net.ipv4.ip_local_port_range
_UNSTEADY = (
    (re.compile(r"\+\d+ µs"), "+0 µs"),
    (re.compile(r"\b\d+\.\d+ (s|ms)\b"), r"0.0 \1"),
    (re.compile(r"(?<![\w.])\d+[smhd](\d+[smhd])?(?=\s|$)"), "0s"),
    (re.compile(r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"), "DATE"),
    (re.compile(rf"(?<=[:=.]){_EPHEMERAL}\b"), "40000"),
    (re.compile(r"\b(REACHABLE|STALE|DELAY|PROBE)\b"), "REACHABLE"),
    (re.compile(r"(?<=\S)  +"), "  "),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command with its place in the document and the output that is printed below it there."""

    place: str
    command: str
    output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    output: tuple[str, ...]
    status: int


def steps(text: str, name: str = "") -> tuple[Step, ...]:
    found: list[Step] = []
    for number, fence, block in _blocks(text):
        if fence == "```console":
            found += _commands(name, number, block)
        elif file := _FILE.fullmatch(block[0]):
            lines = "\n".join(block)
            command = (
                f"mkdir -p {file['folder']}; cat >{file['folder']}/{file['name']} <<'END OF FILE'\n{lines}\nEND OF FILE"
            )
            found.append(Step(f"{name}:{number}", command, ()))
    return tuple(found)


def _commands(name: str, first: int, block: Sequence[str]) -> list[Step]:
    found: list[Step] = []
    for number, line in enumerate(block, first):
        if line.startswith("$ "):
            found.append(Step(f"{name}:{number}", line[2:], ()))
        elif not found:
            raise ValueError(f"{name}:{number}: a console block begins with a command: {line}")
        elif line.startswith("> ") and not found[-1].output:
            found[-1] = Step(found[-1].place, f"{found[-1].command}\n{line[2:]}", ())
        else:
            found[-1] = Step(found[-1].place, found[-1].command, (*found[-1].output, line))
    return found


def _blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Each console or YAML block that is not empty, with the number of its first line."""
    fence, begun = "", []
    for number, line in enumerate(text.splitlines(), 1):
        if not fence and line.startswith("```"):
            fence, begun = line.strip(), []
        elif fence and line.rstrip() == "```":
            if begun and fence in _RUN:
                yield number - len(begun), fence, begun
            fence = ""
        elif fence:
            begun.append(line)


def run(wanted: Sequence[Step], directory: Path, environment: Mapping[str, str]) -> tuple[Done, ...]:
    """All of them in one shell, one after the other, each going on from the status of the one before."""
    script = "".join(_line(index, step.command) for index, step in enumerate(wanted))
    ended = subprocess.run(
        ["bash", "-c", f"status=0\n{script}"],
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LONGEST_S,
        check=False,
    )
    told = re.findall(f"{_MARK}\\d+\n(.*?){_MARK}= (\\d+)\n", ended.stdout.decode(errors="replace"), re.DOTALL)
    if len(told) != len(wanted):
        raise AssertionError(f"the shell ended at {wanted[len(told)].place}: {ended.stdout[-2000:]!r}")
    return tuple(Done(tuple(text.splitlines()), int(status)) for text, status in told)


def _line(index: int, command: str) -> str:
    return f"printf '{_MARK}{index}\\n'; (exit $status)\n{command}\nstatus=$?; printf '{_MARK}= %d\\n' $status\n"


def problems(wanted: Sequence[Step], done: Sequence[Done]) -> Iterator[str]:
    """What the document says otherwise than it is."""
    following = [step.command for step in wanted[1:]] + [""]
    for step, got, after in zip(wanted, done, following, strict=True):
        said = "\n".join(got.output)
        if got.status and after != "echo $?":
            yield f"{step.place}: $ {step.command}\nended with {got.status}:\n{said}"
        elif not agrees(step.output, got.output):
            expected = "\n".join(step.output)
            says = f"the document says\n{expected}\nand it is\n{said}"
            yield f"{step.place}: $ {step.command}\n{says}{_missing(step, got)}"


def _missing(step: Step, got: Done) -> str:
    """The line up to which they agree, said where there are many."""
    lines = step.output
    agreed = max(n for n in range(len(lines) + 1) if agrees((*lines[:n], _ANY), got.output))
    return f"\nwhere nothing is like: {lines[agreed]}" if 3 < agreed < len(lines) else ""


def agrees(expected: Sequence[str], got: Sequence[str]) -> bool:
    pattern = "".join(_pattern(line) for line in _trimmed(expected))
    return re.fullmatch(pattern, "".join(f"{_steady(line)}\n" for line in _trimmed(got))) is not None


def _pattern(line: str) -> str:
    if line.strip() == _ANY:
        return r"(?:.*\n)*?"
    return ".*?".join(re.escape(part) for part in _steady(line).split(_ANY)) + r"\n"


def _trimmed(lines: Sequence[str]) -> list[str]:
    """Without the empty lines at both ends, which only part things."""
    return "\n".join(line.rstrip() for line in lines).strip("\n").split("\n") if any(lines) else []


def _steady(line: str) -> str:
    for pattern, instead in _UNSTEADY:
        line = pattern.sub(instead, line)
    return line.rstrip()
