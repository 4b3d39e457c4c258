"""Every error kube-emu raises, and who must act on it. (Exit status 1 is no error: what was seen is not what was
predicted.)

EmuError
├── InputError          your file or argument is wrong              exit 2
│   └── NotFound          … it names what is not there
├── Conflict            somebody else wrote first                   exit 4
├── Gone                older than what is kept                     exit 4
├── NoSuchProgram       a Pod, or a Node, has no such program     exit 4
├── PlanError           well-formed, but cannot be built            exit 2
├── HostError           this machine cannot do it                   exit 3
│   ├── NotPermitted      … for this user
│   ├── MissingTool       … without a program
│   └── MissingFeature    … without a kernel feature
├── PluginError         a CNI plugin refused, or cannot do it       exit 4
└── KernelError         the kernel refused what the plan says       exit 4
"""

from __future__ import annotations

from dataclasses import dataclass


class EmuError(Exception):
    """Base of all. `exit_code` is the status the command line ends with; `hint` says what to do."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the user's input something stands; prints as `file:line`."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class InputError(EmuError):
    """`place: subject: what is wrong`, e.g.
    `web.yaml:14: Service default/web: spec.ports[0].port is 99999, must be 1-65535`."""

    exit_code = 2

    def __init__(self, what: str, *, place: Place | None = None, subject: str = "", hint: str = "") -> None:
        self.what, self.place, self.subject = what, place, subject
        where = str(place) if place else ""
        super().__init__(": ".join(part for part in (where, subject, what) if part), hint=hint)


class NotFound(InputError):
    """No such object: the word of a store or an API, as kubectl says it."""

    def __init__(self, plural: str, name: str, *, hint: str = "") -> None:
        super().__init__(f'{plural} "{name}" not found', hint=hint)


class PlanError(EmuError):
    exit_code = 2


class HostError(EmuError):
    exit_code = 3


class NotPermitted(HostError):
    pass


class MissingTool(HostError):
    def __init__(self, tool: str, *, wanted_for: str, package: str = "") -> None:
        hint = f"apt-get install {package}" if package else ""
        super().__init__(f"{tool} is not installed, and {wanted_for} needs it", hint=hint)


class MissingFeature(HostError):
    def __init__(self, feature: str, *, module: str = "", hint: str = "") -> None:
        named = f" (kernel module {module})" if module else ""
        super().__init__(f"this kernel has no {feature}{named}", hint=hint or (module and f"modprobe {module}"))


class NoSuchProgram(EmuError):
    """A Pod's own program is missing, in a container runtime's words: nothing that the lab needs."""

    def __init__(self, program: str) -> None:
        why = f"stat {program}: no such file or directory" if "/" in program else "executable file not found in $PATH"
        super().__init__(f'exec: "{program}": {why}')


class Conflict(EmuError):
    """Somebody else wrote first: read again, and decide again."""


class Gone(EmuError):
    """What is asked for is older than what is kept: list again."""


class PluginError(EmuError):
    """`code` is the plugin's own (100 and more) or CNI's; 0 when it gave none."""

    def __init__(self, message: str, *, hint: str = "", code: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class KernelError(EmuError):
    pass


def known_class(error: EmuError) -> str:
    """The nearest class of this module: what `revived` can find in another process."""
    return next(each.__name__ for each in type(error).__mro__ if each.__module__ == __name__)


def revived(kind: str, message: str, hint: str = "") -> EmuError:
    """An error that has crossed to another process, as what it was there: only the name of its class and what it
    prints have come along, not the arguments of its constructor."""
    found = globals().get(kind, KernelError)
    known = found if isinstance(found, type) and issubclass(found, EmuError) else KernelError
    error = known.__new__(known)
    EmuError.__init__(error, message, hint=hint)
    return error
