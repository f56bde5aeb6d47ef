"""The program viamachinae itself, in a job of a few seconds, on a scan whose first task never ends."""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

from viamachinae.cli.main import main
from viamachinae.cli.supervise import BEGAN
from viamachinae.scan import drive
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.stages import DEFAULT_STAGES


def _endless(*_: object) -> NoReturn:
    while True:
        time.sleep(1)


if __name__ == "__main__":
    os.environ |= {BEGAN: str(time.time()), "SLURM_JOB_END_TIME": str(int(time.time()) + 1)}
    drive.runner_for = lambda _: InlineRunner()
    assert isinstance(DEFAULT_STAGES, dict)
    DEFAULT_STAGES["patches"] = _endless
    main(sys.argv[1:])
