"""kill -9 at random moments of the life of a run: of its driver, of the processes above and below it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from chaos_scan import Fault, undo_behind
from victims import Run, until

from viamachinae.errors import ExitCode
from viamachinae.scan.sections import STAGES

#: Kind of process -> what the log calls it.
NAMES = {
    "driver": "kill -9 of the driver",
    "supervisor": "kill -9 of the process above the driver",
    "worker": "kill -9 of a worker",
    "raylet": "kill -9 of the raylet",
    "gcs_server": "kill -9 of the server of Ray",
}
#: Stages that work in this scan, and those of them whose tasks always go to Ray.
SEARCHED = tuple(stage for stage in STAGES if stage != "cells")
ON_RAY = ("stars", "plan", "trunk", "scores", "lines", "fragments")
#: A moment lies up to so long (s) behind the one at which its stage has begun and its victim lives.
LIFE = {"driver": 3.0, "supervisor": 3.0, "worker": 0.4, "raylet": 6.0, "gcs_server": 6.0}
#: How a command may end under kills: done, resume me, tasks given up after three workers, or killed.
ENDS = (ExitCode.COMPLETE, ExitCode.RESUME, ExitCode.FAILED, -9)
#: Ray's own agents would stay for a minute.
_GONE_WITHIN, _PATIENCE = 5.0, 200.0
#: A server that is killed is missed after this time (s), not a third of a minute.
_QUICK = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}


@dataclass
class Campaign:
    """Kills of one kind that hit one scan: kill, go on, kill again.

    Parameters
    ----------
    out, scratch : Path
        The scan folder, and where temporary files of its runs go.
    kind : str
        What is killed.
    stages : sequence of str
        Where each kill lies: behind the begin of this stage; empty: behind the begin of the command.
    seed : int
        Of the moments.
    """

    out: Path
    scratch: Path
    kind: str
    stages: Sequence[str]
    seed: int

    def __post_init__(self) -> None:
        self.hits: list[str] = []
        self.most = 1  # commands for one kill

    def go(self) -> None:
        """Kill as often as there are stages, then let the scan finish."""
        chance, tries = np.random.default_rng(self.seed), 0
        with ExitStack() as stack:
            run = self._start(stack, self.stages[0])
            while len(self.hits) < len(self.stages):
                tries += 1
                assert tries <= 4 * len(self.stages), f"only {self.hits} were hit"
                stage = self.stages[len(self.hits)]
                if run.code is not None:
                    self._ended(run)
                    run = self._start(stack, stage)
                self._strike(run, stage, float(chance.random()))
            self._finish(stack, run)

    def _start(self, stack: ExitStack, stage: str) -> Run:
        """Give the command again, with the stage to do, and something for Ray before it."""
        first = min(STAGES.index(stage or STAGES[0]), STAGES.index("fragments"))
        if self.out.is_dir() and first:
            undo_behind(self.out, STAGES[first - 1])
        return stack.enter_context(Run(self.out, self.scratch, environment=_QUICK))

    def _strike(self, run: Run, stage: str, part: float) -> None:
        """Kill one process; the run may end, or the process, before the moment comes."""
        behind = STAGES.index(stage) if stage else -1
        until(lambda: run.code is not None or _number(run.stage()) >= behind, _PATIENCE)
        if self.kind == "worker":  # which lives for one task: wait first, and take it as it is
            time.sleep(part * LIFE[self.kind])
        until(lambda: run.code is not None or run.find(self.kind), _PATIENCE)
        if self.kind != "worker":
            time.sleep(part * LIFE[self.kind])
        at = run.stage() or "start"
        if run.code is None and run.kill(self.kind) is not None:
            self.hits.append(at)
            run.forget()

    def _ended(self, run: Run) -> int:
        """Return how a run ended, none of whose processes may be left."""
        code = run.wait()
        assert code in ENDS, run.said()
        assert "defect" not in run.said(), run.said()
        until(lambda: not run.processes(), _GONE_WITHIN)
        return code

    def _finish(self, stack: ExitStack, run: Run) -> None:
        code, commands = self._ended(run), 0
        while code != ExitCode.COMPLETE:
            commands += 1
            assert commands <= 2, run.said()
            run = stack.enter_context(Run(self.out, self.scratch))
            code = self._ended(run)
        self.most = max(1, commands)
        assert not list(self.scratch.iterdir())


def _number(stage: str) -> int:
    return STAGES.index(stage) if stage else -1


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder under a short path: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="chaos", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def _moments(kind: str, kills: int, seed: int) -> list[str]:
    """Draw the stages in which kills lie, in the order of the scan."""
    where = (
        ON_RAY if kind == "worker" else SEARCHED[1:] if kind in ("raylet", "gcs_server") else ("", *SEARCHED)
    )
    return sorted(np.random.default_rng(seed).choice(where, kills), key=_number)


def _campaigns(kind: str, folder: Path, scratch: Path, kills: Sequence[int]) -> list[Campaign]:
    made = []
    for seed, n in enumerate(kills):
        (scratch / f"{seed}").mkdir()
        out = folder / f"scan{seed}"
        made.append(Campaign(out, scratch / f"{seed}", kind, _moments(kind, n, seed), seed))
    return made


def _check(fault: Fault, campaigns: Sequence[Campaign], get_over: Callable[..., None]) -> Counter[str]:
    """Compare every scan with the undisturbed one; return how many kills hit each stage."""
    for campaign in campaigns:
        get_over(campaign.out)
    hits = Counter(stage for campaign in campaigns for stage in campaign.hits)
    fault.times = hits.total()
    fault.commands = max(campaign.most for campaign in campaigns)
    fault.what += f": {dict(hits)}"
    return hits


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        ("driver", (10, 10, 10, 10, 10)),
        ("supervisor", (5, 5)),
        ("worker", (10, 10, 10, 10, 10)),
        ("raylet", (9, 9, 8, 8, 8, 8)),
        ("gcs_server", (1, 1)),
    ],
)
def test_kills_at_random_moments(
    tmp_path: Path,
    scratch: Path,
    fault: Fault,
    get_over: Callable[..., None],
    kind: str,
    kills: Sequence[int],
) -> None:
    """Most of the time goes by in waiting for Ray: three scans run side by side."""
    fault.of(NAMES[kind], "at random moments")
    campaigns = _campaigns(kind, tmp_path, scratch, kills)
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(campaign.go) for campaign in campaigns]:
            done.result()
    hits = _check(fault, campaigns, get_over)
    assert hits.total() == sum(kills)
    # They lie all over the run, not in one place.
    assert len(hits) >= min(4, sum(kills) // 4)


#: Kills of the default run, in stages that are quick.
FEW = {
    "driver": ["", "lines", "report"],
    "supervisor": ["lines"],
    "worker": ["lines", "lines"],
    "raylet": ["lines"],
}


@pytest.fixture(scope="module")
def few(
    undisturbed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Campaign, Future[None]]]]:
    """Kills of every kind, which go on side by side: the time goes by in waiting for Ray."""
    folder = Path(tempfile.mkdtemp(prefix="chaos", dir="/tmp"))
    found = {}
    with ThreadPoolExecutor(len(FEW)) as pool:
        for kind, stages in FEW.items():
            (folder / kind).mkdir()
            out = shutil.copytree(undisturbed, tmp_path_factory.mktemp("few") / kind)
            undo_behind(out, "scores")
            campaign = Campaign(out, folder / kind, kind, stages, seed=1)
            found[kind] = campaign, pool.submit(campaign.go)
        yield found
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", FEW)
def test_a_few_kills(
    few: dict[str, tuple[Campaign, Future[None]]], fault: Fault, get_over: Callable[..., None], kind: str
) -> None:
    fault.of(NAMES[kind], "a few")
    campaign, done = few[kind]
    done.result()
    hits = _check(fault, [campaign], get_over)
    assert hits.total() == len(FEW[kind])
