"""What can go wrong between here and an archive, by what is to be done about it."""

from __future__ import annotations

__all__ = [
    "BadAnswerError",
    "FaultError",
    "LostJobError",
    "RefusedError",
    "SlowError",
    "TransientError",
]


class FaultError(Exception):
    """Base of all faults; they are dealt with inside this room and never reach a user.

    Parameters
    ----------
    words : str
        What happened, in one line; the service's own words where it said any.
    retry_after : float, optional
        Seconds that the service asks to wait.
    """

    def __init__(self, words: str, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.words = words
        self.retry_after = retry_after


class TransientError(FaultError):
    """The network or the service is troubled or busy: the same again later, as long as time is left."""


class SlowError(TransientError):
    """An answer takes longer than we wait, or than the service allows."""


class BadAnswerError(FaultError):
    """The service answers, but wrongly: a bounded number of times again, then it is an error."""


class LostJobError(BadAnswerError):
    """The service does not know, or has given up, a job: submit it anew."""


class RefusedError(FaultError):
    """The service will never do this: it is an error at once."""
