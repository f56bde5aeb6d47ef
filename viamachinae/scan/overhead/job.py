"""One process that runs fake tasks, as a scan runs its own; it prints what it saw as a line of JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viamachinae.config.settings import RunnerSettings
from viamachinae.scan.attempt import Attempt
from viamachinae.scan.outcome import Outcome
from viamachinae.scan.overhead.folder import OF_PATCH, Fake, fake_scan
from viamachinae.scan.ray_runner import RayRunner
from viamachinae.scan.runner import InlineRunner, Runner
from viamachinae.scan.task import Task, fingerprint

__all__ = ["ROUNDS_A_SECOND", "Seen", "main"]

#: Hashes of a kilobyte that a core makes in about a second.
ROUNDS_A_SECOND = 500_000


@dataclass
class Seen:
    """What a process saw of its tasks.

    Parameters
    ----------
    tasks : int
        How many ended.
    seconds : float
        From the first to the last (s): neither the start of Python nor that of Ray.
    memory_first, memory_last : float
        Peak memory of the driver when a tenth of them, and all, had ended (bytes).
    """

    tasks: int = 0
    seconds: float = 0.0
    memory_first: float = 0.0
    memory_last: float = 0.0


def tasks_of(n: int) -> list[Task]:
    """Return tasks as large as those of a scan: regions to score, and inputs."""
    regions = [{"coordinate": "pm_lambda", "index": i, "low": -3.0 * i, "high": 6.0} for i in range(5)]
    tasks = []
    for i in range(n):
        patch = f"p{i // OF_PATCH:04d}"
        name = f"{patch}/pm_lambda/{i % OF_PATCH:+04d}"
        key = fingerprint([name])
        weight = float(1 + i * 7919 % 1000)
        tasks.append(Task("scores", name, key, (), {"patch": patch, "regions": regions}, weight))
    return tasks


@dataclass(frozen=True)
class _Unpublished:
    """A score task that publishes nothing."""

    fake: Fake

    def __call__(self, _task: Task, attempt: Attempt) -> dict[str, Any]:
        self.fake.work()
        return {"attempt": attempt.number}


class _Watch:
    """Counts the tasks that end, and looks at the memory."""

    def __init__(self, n: int) -> None:
        self.seen, self._n = Seen(), n
        self._began = 0.0

    def ended(self) -> None:
        now = time.monotonic()
        self.seen.tasks += 1
        self._began = self._began or now
        self.seen.seconds = now - self._began
        if self.seen.tasks == max(1, self._n // 10):
            self.seen.memory_first = _peak()
        self.seen.memory_last = _peak()


def _peak() -> float:
    """Return the peak memory of this process (bytes), without that of the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024.0 * float(status.partition("VmHWM:")[2].split()[0])


class _Counted:
    """A runner that tells of every score task that ends."""

    def __init__(self, runner: Runner, watch: _Watch) -> None:
        self._runner, self._watch = runner, watch

    def run(self, *arguments: Any) -> Iterator[Outcome]:
        for outcome in self._runner.run(*arguments):
            if outcome.task.stage == "scores":
                self._watch.ended()
            yield outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Run fake tasks as the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m viamachinae.scan.overhead.job", description=__doc__)
    parser.add_argument("tasks", type=int)
    parser.add_argument("--rounds", type=int, default=0, help="computing of each")
    parser.add_argument("--wait", type=float, default=0.0, help="waiting of each (s)")
    parser.add_argument("--workers", type=int, default=0, help="0: inline, without Ray")
    parser.add_argument("--out", type=Path, help="folder to publish in; left out: nothing is published")
    asked = parser.parse_args(arguments)
    settings = RunnerSettings(workers=asked.workers, inline=not asked.workers)
    fake, watch = Fake(asked.tasks, asked.rounds, asked.wait), _Watch(asked.tasks)
    runner: Runner = RayRunner(settings) if asked.workers else InlineRunner()
    with runner:
        counted: Any = _Counted(runner, watch)
        if asked.out is None:
            ended = sum(outcome.ok for outcome in counted.run(tasks_of(asked.tasks), _Unpublished(fake)))
        else:
            result = fake_scan(asked.out, fake, counted)
            ended = result.done_before["scores"] + result.done_now["scores"]
    sys.stdout.write(json.dumps({**vars(watch.seen), "done": ended}) + "\n")
    return int(ended < asked.tasks)


if __name__ == "__main__":
    sys.exit(main())
