"""Errors as Kubernetes `Status` objects. The class and the hint ride in `details`, so that the command line can raise
the same error again."""

from __future__ import annotations

from typing import Any

from emu import errors
from emu.errors import Conflict, EmuError, Gone, HostError, InputError, NotPermitted, PlanError

#: The first class that fits decides: HTTP code, Kubernetes reason.
REASONS: tuple[tuple[type[EmuError], int, str], ...] = (
    (Conflict, 409, "Conflict"),
    (Gone, 410, "Expired"),
    (PlanError, 422, "Invalid"),
    (InputError, 400, "BadRequest"),
    (NotPermitted, 403, "Forbidden"),
    (HostError, 501, "NotImplemented"),
    (EmuError, 500, "InternalError"),
)


class ApiError(InputError):
    """An answer of the API that is an error, with its HTTP code and reason."""

    def __init__(self, code: int, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code, self.reason = code, reason


def status(error: BaseException) -> dict[str, Any]:
    """Any error: one that is not ours is a mistake of the program, and says so."""
    if not isinstance(error, EmuError):
        error = EmuError(f"{type(error).__name__}: {error}", hint="see the testbed's log")
    code, reason = code_of(error)
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": reason,
        "details": {"causes": [{"reason": "EmuError", "field": errors.known_class(error), "message": error.hint}]},
        "code": code,
    }


def code_of(error: EmuError) -> tuple[int, str]:
    if isinstance(error, ApiError):
        return error.code, error.reason
    if isinstance(error, errors.NotFound):
        return 404, "NotFound"
    return next((code, reason) for known, code, reason in REASONS if isinstance(error, known))


def not_found(plural: str, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{plural} "{name}" not found')
