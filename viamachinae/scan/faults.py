"""What an exception says about the machine: out of memory, a full disk, a file system or a GPU that fails."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from viamachinae.errors import ResumeError, TaskError, ViaMachinaeError
from viamachinae.scan.attempt import Fault

__all__ = ["fault_of", "refused"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: A server that does not answer, a mount that went, a handle that is out of date, too many open files.
_FAILING = (
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO, errno.ENODEV, errno.EMFILE,
    errno.ENFILE,
)  # fmt: skip


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
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _fault(error: BaseException) -> Fault | None:
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Fault.MEMORY
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return Fault.FULL
        return Fault.STORAGE if error.errno in _FAILING else None
    if isinstance(error, RuntimeError):
        if "can't allocate memory" in text:
            return Fault.MEMORY
        if type(error).__name__ == "AcceleratorError" or text.startswith("CUDA error"):
            return Fault.DEVICE
    return None
