"""Hand a scan to Slurm, and say what was handed over."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from viamachinae.cli.words import counted
from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError, DataError, ViaMachinaeError
from viamachinae.scan.batch.request import Request, job_of
from viamachinae.scan.batch.site import load_site

if TYPE_CHECKING:
    from viamachinae.scan.batch.submit import Submission

__all__ = ["submit"]


def submit(settings: Settings, out: Path, site: str, request: Request, *, dry_run: bool, yes: bool) -> None:
    """Write the scripts of a scan, submit them unless it is a rehearsal, and print what comes next.

    Parameters
    ----------
    settings : Settings
        The scan.
    out : Path
        Its folder.
    site : str
        The cluster, by name or file.
    request : Request
        What is asked of it.
    dry_run : bool
        Whether to submit nothing, and to warn only of what keeps the jobs from running.
    yes : bool
        Whether changed settings may redo finished tasks, and jobs of this folder may be in the queue.

    Raises
    ------
    ConfigError
        The cluster would refuse the jobs, finished tasks would be made anew, or jobs of this folder wait.
    DataError
        What the nodes need is not here.
    """
    from viamachinae.scan.batch.ready import accept_changes
    from viamachinae.scan.batch.submit import prepare
    from viamachinae.scan.batch.submit import submit as submitted

    job = job_of(request, load_site(site))
    hindrances = list(_hindrances(settings, out, yes=yes))
    if hindrances and not dry_run:
        raise hindrances[0]
    if yes and not dry_run and (out / "scan.toml").is_file():
        accept_changes(settings, out)
    submission = prepare(settings, out, job)
    print(f"wrote {', '.join(script.name for script in submission.scripts)} in {submission.folder}")
    print(_shape(submission, request))
    if request.gpu:
        asked = counted(job.node.gpus, "GPU")
        print(f"{asked} of each node, as the file of the cluster says (gpus in [gpu]; --site takes your own)")
    if dry_run:
        print("nothing is submitted; by hand:")
        for i, script in enumerate(submission.scripts):
            print(f"  {shlex.join(submission.command(script, 'JOB' if i else ''))}")
        if len(submission.scripts) > 1:
            print("  (JOB: the number that the first command prints)")
        for hindrance in hindrances:
            print(f"warning: without --dry-run this is refused: {hindrance}", file=sys.stderr)
        return
    jobs = submitted(submission)
    console = Console(soft_wrap=True, highlight=False)
    for script, number in zip(submission.scripts, jobs, strict=True):
        console.print(f"job {number}: {script.name}")
    console.print(f"follow them: squeue --jobs {','.join(jobs)}; viamachinae status {out}")
    console.print(f"stop them: scancel {' '.join(jobs)}; the same submit goes on from there")


def _hindrances(settings: Settings, out: Path, *, yes: bool) -> Iterator[ViaMachinaeError]:
    """Yield what keeps the jobs of a scan from running."""
    from viamachinae.scan.batch.ready import refuse_changes, refuse_twice, require_fetched

    for check in (require_fetched,) if yes else (refuse_changes, refuse_twice, require_fetched):
        try:
            check(settings, out)
        except (ConfigError, DataError) as error:
            yield error


def _shape(submission: Submission, request: Request) -> str:
    patches = f"{submission.patches} patch{'es' * (submission.patches != 1)}"
    if not submission.groups:
        return f"{patches} on {counted(request.nodes, 'node')} with one Ray"
    groups = counted(submission.groups, "group")
    if submission.groups < request.nodes:
        groups += f" (there are fewer patches than --nodes {request.nodes})"
    return f"{patches} in {groups}, each on a node of its own; then one job that merges them"
