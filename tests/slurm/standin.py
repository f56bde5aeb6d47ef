"""In place of the program viamachinae: does nothing, as slowly as it is told, and ends as it is told.

It reads OUT/play.json: ``tasks`` of a group, ``seconds`` of each, ``code`` at the end; and notes in OUT what
was asked of it, and which tasks are done. SIGTERM makes it leave with 75, "resume me".
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_NOTED = (
    "SLURM_JOB_ID",
    "SLURM_JOB_END_TIME",
    "RAY_AUTH_MODE",
    "RAY_ADDRESS",
    "TMPDIR",
)


def main() -> int:
    """Play the driver."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stop-file", type=Path, required=True)
    parser.add_argument("--until-walltime", choices=["auto"], required=True)
    parser.add_argument("--group", default="all")
    parser.add_argument("--workers", type=int)
    for flag in ("--offline",):
        parser.add_argument(flag, action="store_true", required=True)
    asked = parser.parse_args()
    play = json.loads((asked.out / "play.json").read_text())
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    note = {
        "group": asked.group,
        "workers": asked.workers,
        "scan": asked.scan.is_file(),
        "token": [len(token.read_text()), oct(token.stat().st_mode & 0o777)],
        "time": time.time(),
        "environment": {name: os.environ.get(name) for name in _NOTED},
    }
    with (asked.out / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(note) + "\n")
    # What a driver leaves behind when it is killed: a process that does not go by itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    helper = subprocess.Popen(["sleep", "1000"])
    try:
        return _work(asked.out / "done" / asked.group.replace("/", "-of-"), play, asked.stop_file)
    finally:
        helper.kill()


def _work(done: Path, play: dict[str, float], stop: Path) -> int:
    done.mkdir(parents=True, exist_ok=True)
    for task in range(int(play["tasks"])):
        if stop.exists():
            return 75
        if not (done / str(task)).exists():
            time.sleep(play["seconds"])
            (done / str(task)).touch()
    return int(play["code"])


if __name__ == "__main__":
    sys.exit(main())
