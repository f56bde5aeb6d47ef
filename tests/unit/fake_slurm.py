"""Programs in place of Slurm, Ray, containers and the driver; `sbatch` really runs the scripts it gets."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["FakeSlurm"]

#: Runs a script at once, task after task, and again as often as it puts itself back into the queue.
_SBATCH = """
import json, os, re, signal, subprocess, sys, time
home = {home!r}
play = json.load(open(home + "/play.json"))
words, script = sys.argv[1:-1], sys.argv[-1]
if play["refuse"] and play["refuse"] in script:
    sys.exit("sbatch: error: Batch job submission failed: Invalid account or account/partition combination")
text = open(script).read()
option = lambda name, default: (re.findall(rf"^#SBATCH --{{name}}=(.*)$", text, re.M) or [default])[-1]
calls = lambda: os.path.exists(home + "/calls.jsonl") and os.path.getsize(home + "/calls.jsonl")
def state(add=None):
    path = home + "/jobs.json"
    jobs = json.load(open(path)) if os.path.exists(path) else []
    if add is not None:
        json.dump([*jobs, add], open(path, "w"))
    return jobs
number = str({first} + len(state()))
print(number + ";cluster")
sys.stdout.flush()
after = [w.split(":")[1] for w in words if w.startswith("--dependency=afterok:")]
if any(job["number"] in after and set(job["codes"]) != {{0}} for job in state()):
    state({{"number": number, "script": script, "words": words, "codes": [None], "restarts": 0}})
    sys.exit()
array = option("array", "")
first, last = map(int, array.split("-")) if array else (0, 0)
codes, restarts = [], 0
for task in range(first, last + 1):
    name = f"{{number}}_{{task}}" if array else number
    requeued = f"{{home}}/requeued-{{name}}"
    count = 0
    while True:
        nodes = option("nodes", "1")
        environment = {{
            **os.environ, **play["environment"],
            "SLURM_JOB_ID": str(1000 * int(number) + task) if array else number,
            "SLURM_JOB_NUM_NODES": nodes, "SLURM_JOB_NODELIST": "nid1", "SLURM_CPUS_ON_NODE": "8",
            "SLURM_RESTART_COUNT": str(count),
        }}
        if array:
            environment |= {{"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(task)}}
        before = calls()
        job = subprocess.Popen(["bash", script], env=environment, stdout=sys.stderr)
        if play["warn"] and not count:
            while calls() == before:
                time.sleep(0.01)
            job.send_signal(getattr(signal, play["warn"]))
        code = job.wait()
        if not os.path.exists(requeued):
            break
        os.remove(requeued)
        count += 1
    codes.append(code)
    restarts += count
state({{"number": number, "script": script, "words": words, "codes": codes, "restarts": restarts}})
"""

_SQUEUE = """
import pathlib, sys
queue = pathlib.Path({home!r}, "queue")
print((queue.read_text() if queue.exists() else "") if "--format=%F" in sys.argv else "2030-01-01T00:00:00")
"""

_SCONTROL = """
import pathlib, sys
if sys.argv[1] == "requeue":
    pathlib.Path({home!r}, "requeued-" + sys.argv[2]).touch()
else:
    print("nid1\\nnid2")
"""

#: Notes how it was called, then runs what stands behind its own words.
_THROUGH = """
import json, os, sys
with open({home!r} + "/{name}.jsonl", "a") as notes:
    notes.write(json.dumps(sys.argv[1:]) + "\\n")
rest = sys.argv[1:]
{cut}
os.execvp(rest[0], rest)
"""
_CUTS = {
    "srun": "while rest[0].startswith('-'): rest.pop(0)",
    "shifter": "while rest[0].startswith('-'): rest.pop(0)",
    "podman-hpc": "rest = rest[rest.index('image:1') + 1:]",
    "ray": "rest = rest[rest.index('--') + 1:]",
}

#: The driver: ends as it is told, call after call; "wait" waits for the stop file and leaves with 75.
_DRIVER = """
import json, os, pathlib, sys, time
home = pathlib.Path({home!r})
calls = home / "calls.jsonl"
number = len(calls.read_text().splitlines()) if calls.exists() else 0
ends = json.load(open(home / "play.json"))["ends"]
end = ends[min(number, len(ends) - 1)]
token = pathlib.Path(os.environ["RAY_AUTH_TOKEN_PATH"])
note = {{"words": sys.argv[1:], "environment": dict(os.environ), "token": token.read_text()}}
with calls.open("a") as file:
    file.write(json.dumps(note) + "\\n")
if end == "wait":
    stop = pathlib.Path(sys.argv[sys.argv.index("--stop-file") + 1])
    while not stop.exists():
        time.sleep(0.01)
    end = 75
sys.exit(end)
"""


class FakeSlurm:
    """The programs in a folder, what they are told, and what they were asked.

    Parameters
    ----------
    home : Path
        A folder of their own.

    Attributes
    ----------
    first : int
        Number of the first job; jobs of two runs of the tests have folders in /tmp at the same time.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.bin = home / "bin"
        self.bin.mkdir(parents=True)
        self.first = 100 * os.getpid()
        self.write("sbatch", _SBATCH)
        self.write("scontrol", _SCONTROL)
        self.write("squeue", _SQUEUE)
        self.write("viamachinae", _DRIVER)
        for name, cut in _CUTS.items():
            self.write(name, _THROUGH, name=name, cut=cut)
        self.tell()

    def write(self, program: str, text: str, **words: str) -> None:
        """Write a program."""
        path = self.bin / program
        path.write_text(f"#!{sys.executable}\n{text.format(home=str(self.home), first=self.first, **words)}")
        path.chmod(0o755)

    def tell(
        self,
        ends: Sequence[int | str] = (0,),
        warn: str = "",
        refuse: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Say how the driver ends, call after call, and what Slurm does.

        Parameters
        ----------
        ends : sequence of int or str
            Exit codes of the driver; the last stays; ``"wait"``: 75, once the stop file is there.
        warn : str
            Signal that the first run of a job gets.
        refuse : str
            Part of the name of a script that is refused.
        environment : mapping
            Variables that jobs have.
        """
        play = {"ends": ends, "warn": warn, "refuse": refuse, "environment": dict(environment or {})}
        (self.home / "play.json").write_text(json.dumps(play))

    def queue(self, *numbers: str) -> None:
        """Say which jobs wait or run."""
        (self.home / "queue").write_text("\n".join(numbers))

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs: number, script, words of sbatch, exit codes of its tasks, restarts."""
        path = self.home / "jobs.json"
        return json.loads(path.read_text()) if path.exists() else []

    def calls(self, program: str = "calls") -> list[Any]:
        """Return how a program was called; the driver's calls are ``calls``."""
        path = self.home / f"{program}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
