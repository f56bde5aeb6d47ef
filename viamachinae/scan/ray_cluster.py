"""A Ray cluster for the length of a command: started here, or joined where one runs already."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from viamachinae.config.settings import RunnerSettings
from viamachinae.errors import TaskError
from viamachinae.scan.interrupt import blocked_signals
from viamachinae.scan.leftovers import READABLE, end_all
from viamachinae.scan.runner import ONE_THREAD, environment
from viamachinae.scan.scratch import Scratch

__all__ = ["RayCluster", "cores"]

logger = logging.getLogger(__name__)

#: Results never travel through the object store, so it may be as small as Ray allows (bytes).
_OBJECT_STORE = 100_000_000
#: What Ray is told when it starts, unless the user told it something else.
_RAY_DEFAULTS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
#: How long Ray on this machine looks for the server of its own that is gone (s); it asks for a minute.
_OWN_DEFAULTS = {"RAY_gcs_rpc_server_reconnect_timeout_s": "20"}
#: Set for the processes of a Ray that is started here.
_STARTED_BY = "VIAMACHINAE_RAY"
#: Tries to start Ray: on a busy machine one of its processes can be late, or be killed for memory.
_STARTS = 2
#: Nodes come and go: how long what the cluster has counts as known (s).
_KNOWN = 2.0


class RayCluster:
    """A Ray cluster, started or joined when first needed.

    Parameters
    ----------
    settings : RunnerSettings
        Uses ``workers``, ``address``, ``device`` and ``nice``.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        self.settings = settings
        self._folder: Scratch | None = None
        self._mark = f"{_STARTED_BY}={secrets.token_hex(16)}"
        self._started = False
        self._resources: dict[str, float] = {}
        self._asked = -_KNOWN

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._started:
                import ray

                ray.shutdown()
        finally:
            self._started = False
            self._clear()

    def start(self) -> None:
        """Start or join it, once.

        Raises
        ------
        TaskError
            Ray does not start, or nothing answers at the address.
        """
        if self._started:
            return
        chosen = {**_RAY_DEFAULTS, "RAY_worker_niceness": str(self.settings.nice)}
        if not self.settings.address:
            chosen |= {**_OWN_DEFAULTS, **_password()}
        unsaid = {name: value for name, value in chosen.items() if name not in os.environ}
        name, _, value = self._mark.partition("=")
        with environment({**unsaid, **ONE_THREAD, **READABLE, name: value}), blocked_signals():
            import ray

            if ray.is_initialized():  # a session that is not ours: use it, leave it
                return
            for left in reversed(range(1 if self.settings.address else _STARTS)):
                if self._try(left):
                    break
        self._started = True
        logger.info("Ray runs %d workers", self.slots(gpus=0.0))

    def _try(self, left: int) -> bool:
        """Start or join it; say whether that worked, as long as tries are left."""
        try:
            self._init()
        except SystemExit as error:  # how Ray takes a SIGTERM while it starts
            raise KeyboardInterrupt from error
        except Exception as error:
            # Ray says with a bare Exception that one of its processes did not come up.
            self._abandon()
            if left:
                logger.warning("Ray did not start (%s); it is started again", error)
                return False
            address = self.settings.address
            msg = (
                f"Ray did not start {f'at {address!r}' if address else 'on this machine'}: {error}; "
                "check runner.address, or run without Ray: runner.inline = true (--inline)"
            )
            raise TaskError(msg) from error
        return True

    def _abandon(self) -> None:
        """End what came up of a Ray that did not start."""
        import ray

        with contextlib.suppress(Exception):
            ray.shutdown()
        self._clear()

    def _clear(self) -> None:
        """Remove what a Ray of our own leaves: its processes, its folder."""
        if self._folder is not None:
            end_all(self._mark)
            self._folder.remove()
            self._folder = None

    def _init(self) -> None:
        import ray

        chosen: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.settings.address:
            chosen |= {"address": self.settings.address}
        else:
            self._folder = Scratch()
            chosen |= {
                "num_cpus": self.settings.workers or cores(),
                "num_gpus": 0 if self.settings.device == "cpu" else None,  # None: as many as there are
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE,
                "_temp_dir": str(self._folder.path),
            }
        # Workers look for modules in the folder that the driver is in first: they shall find what it found.
        with contextlib.chdir(Path(__file__).parents[2]):
            ray.init(**chosen)

    def has(self, resource: str) -> float:
        """Return how much of a resource (``CPU``, ``GPU``) the living nodes have together."""
        import ray

        if time.monotonic() - self._asked >= _KNOWN:
            self._resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
            self._asked = time.monotonic()
        return self._resources.get(resource, 0.0)

    def slots(self, gpus: float) -> int:
        """Return how many tasks run at a time, each with a core and so many GPUs."""
        most = int(self.has("CPU"))
        if gpus:
            most = min(most, int(self.has("GPU") / gpus + 1e-9))
        return max(1, min(most, self.settings.workers or most))


@cache
def _password() -> dict[str, str]:
    """Return what makes a cluster of our own obey this process alone: others may use the machine too.

    Ray reads it when it is loaded. Where it is loaded already, it keeps a token in the home folder.
    """
    if "ray" in sys.modules or "RAY_AUTH_MODE" in os.environ:
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def cores() -> int:
    """Return the cores that this process may use, which a batch system can limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
