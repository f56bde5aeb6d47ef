"""Every error a user can meet, and the exit code each one ends a command with.

A command ends with one of five codes. They avoid 1 and 2, which shells and
interpreters use for crashes, so that a batch script can tell them apart.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

__all__ = [
    "ConfigError",
    "DataError",
    "ExitCode",
    "ResumeError",
    "TaskError",
    "ViaMachinaeError",
]


class ExitCode(IntEnum):
    """Exit codes of every command (``sysexits.h`` where one fits)."""

    COMPLETE = 0
    DATA = 65  #: corrupt or unusable input
    FAILED = 70  #: some tasks failed
    RESUME = 75  #: interrupted: run the same command again
    CONFIG = 78  #: bad configuration


class ViaMachinaeError(Exception):
    """Base of all errors with a message meant for the user.

    The message says what is wrong, where (file, key, line, patch), and what to
    do next, naming the valid options where there are some.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED


class ConfigError(ViaMachinaeError):
    """A setting is unknown, of the wrong type, or impossible."""

    exit_code = ExitCode.CONFIG


class DataError(ViaMachinaeError):
    """An input or a result is missing, corrupt, or cannot be used."""

    exit_code = ExitCode.DATA


class TaskError(ViaMachinaeError):
    """One or more tasks of a scan failed; the others are kept."""

    exit_code = ExitCode.FAILED


class ResumeError(ViaMachinaeError):
    """The work was interrupted; the same command continues it."""

    exit_code = ExitCode.RESUME
