"""What is left of a run that was killed is ended: nobody is to find its processes on a machine.

Ray's processes notice that the one above them is gone, but some of them try for a minute to tell
a server that is gone as well. They are known by an entry of their environment, which every process hands
to those that it starts. Run as a program with such an entry, this file waits until the process that
started it has ended, however it did, and ends what is left then.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["READABLE", "end_all", "ended_with_us"]

#: Keeps Ray's processes from writing their titles over the environment that others read.
READABLE = {"SPT_NOENV": "1"}

#: Looks in all, and the time between two (s): a process can start another one while it is being killed.
_LOOKS, _PAUSE = 40, 0.05


def end_all(entry: str) -> int:
    """Kill every other process of this machine and user whose environment has an entry; return how many.

    Where there is no ``/proc`` none is found.

    Parameters
    ----------
    entry : str
        ``NAME=value``, with a value that nobody else has.
    """
    killed = 0
    for _ in range(_LOOKS):
        found = list(_with(entry.encode()))
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
        time.sleep(_PAUSE)
    return killed


@contextmanager
def ended_with_us(entry: str) -> Iterator[None]:
    """Let the processes with an entry end with the block, even when this process is killed inside it.

    Parameters
    ----------
    entry : str
        As of :func:`end_all`; this process does not have it.
    """
    # Isolated, and without the packages that are installed, it starts in 20 ms.
    command = [sys.executable, "-I", "-S", __file__, entry]
    silent = subprocess.DEVNULL
    with subprocess.Popen(  # noqa: S603  our own file
        command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True
    ):
        yield


def _with(entry: bytes) -> Iterator[int]:
    """Yield the processes whose environment has an entry; the dead, and those of others, show none."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208  for speed
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as handle:  # noqa: PTH123
                    entries = handle.read().split(b"\0")
            except OSError:
                continue
            if entry in entries:
                yield int(name)


if __name__ == "__main__":
    sys.stdin.read()
    end_all(sys.argv[1])
