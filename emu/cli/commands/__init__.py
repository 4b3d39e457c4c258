"""The commands, in the order the help shows them: (command, its module here)."""

from __future__ import annotations

SECTIONS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "A testbed",
        (("up", "up"), ("down", "down"), ("ls", "ls"), ("doctor", "doctor")),
    ),
    (
        "Objects, as with kubectl",
        (
            ("get", "get"),
            ("describe", "describe"),
            ("apply", "apply"),
            ("delete", "delete"),
            ("scale", "scale"),
            ("logs", "logs"),
            ("exec", "exec"),
        ),
    ),
    (
        "Packets and proofs",
        (
            ("trace", "trace"),
            ("verify", "verify"),
            ("run", "run"),
            ("compare", "compare"),
            ("capture", "capture"),
            ("plan", "plan"),
            ("check", "check"),
            ("bpf", "bpf"),
        ),
    ),
    (
        "Shells",
        (("cli", "cli"), ("completion", "completion")),
    ),
)
