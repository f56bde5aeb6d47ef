"""What an exception says about the machine: out of memory, a full disk, a file system or a GPU that fails."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from viamachinae.errors import ResumeError, TaskError, ViaMachinaeError
from viamachinae.scan.attempt import Fault

__all__ = ["fault_of", "refused"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
#: A server that does not answer, a mount that went or is read-only now, a handle that is out of date, too
#: many open files.
_FAILING = (
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO, errno.ENODEV, errno.ENXIO,
    errno.ETIMEDOUT, errno.EROFS, errno.EMFILE, errno.ENFILE,
)  # fmt: skip
_ERRNOS = {
    errno.ENOMEM: Fault.MEMORY,
    **dict.fromkeys(_FULL, Fault.FULL),
    **dict.fromkeys(_FAILING, Fault.STORAGE),
}


def fault_of(error: BaseException) -> Fault | None:
    """Return the fault of the machine behind an error, ``None`` when the task itself is to blame.

    Parameters
    ----------
    error : BaseException
        The error; what caused it counts as well.
    """
    return next((fault for cause in _causes(error) if (fault := _fault(cause)) is not None), None)


def refused(error: OSError) -> ViaMachinaeError | None:
    """Return how a command ends that cannot go on; ``None`` when the error says nothing of the system.

    A full disk needs somebody to make room, a file system that fails may answer the next try.
    """
    kept = "every finished task is kept"
    fault = fault_of(error)
    if fault is Fault.FULL:
        return TaskError(f"{error}: make room, then run the same command again; {kept}")
    if fault is Fault.STORAGE:
        return ResumeError(f"{error}: the file system does not answer; run the same command again; {kept}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return TaskError(f"{error}: look at the permissions, then run the same command again; {kept}")
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _fault(error: BaseException) -> Fault | None:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Fault.MEMORY
    if isinstance(error, OSError):
        return _ERRNOS.get(error.errno or 0)
    if isinstance(error, RuntimeError):
        text = str(error)
        if "can't allocate memory" in text or "out of memory" in text:
            return Fault.MEMORY
        # An assertion in a kernel is a defect of the program.
        if text.startswith("CUDA error") and "assert" not in text:
            return Fault.DEVICE
    return None
