"""Where a result comes from: software, settings, seed, machine, and a few variables of the environment."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.scan.sections import hash_of
from viamachinae.schema.provenance import git_commit, processor, versions

__all__ = ["ENVIRONMENT", "catalogue_meta", "environment_of", "provenance", "whole_hash"]

#: Variables that a receipt repeats. No other is ever written down: an environment holds secrets.
ENVIRONMENT = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_CLUSTER_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_NUM_NODES",
    "NERSC_HOST",
    "SHIFTER_RUNTIME",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)


def provenance(settings: Settings | None = None) -> dict[str, Any]:
    """Return where a result that is published now comes from, for its receipt.

    Parameters
    ----------
    settings : Settings, optional
        The scan.
    """
    found: dict[str, Any] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "processor": processor(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(),
        "git": git_commit(),
        "environment": environment_of(os.environ),
    }
    if settings is not None:
        found |= {"settings": whole_hash(settings), "seed": settings.scan.seed, "scan": settings.scan.name}
    return found


def environment_of(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that may be written down."""
    return {name: variables[name] for name in ENVIRONMENT if name in variables}


def whole_hash(settings: Settings) -> str:
    """Return the hash of all settings but those of the runner, which change no result."""
    return hash_of(settings, *(name for name in type(settings).model_fields if name != "runner"))


def catalogue_meta(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the provenance of exported tables from the receipt of their candidates.

    An old receipt tells less. Exporting twice gives the same bytes.

    Parameters
    ----------
    body : mapping
        The receipt.
    """
    told = {
        "git_commit": body.get("git", ""),
        "scan_settings_hash": body.get("settings", ""),
        "seed": body.get("seed", ""),
        "host": body["host"],
        "processor": body.get("processor", ""),
        "started": body["started"],
        "seconds": body["seconds"],
        "versions": " ".join(f"{name}={found}" for name, found in sorted(body["versions"].items())),
        "environment": " ".join(f"{k}={v}" for k, v in sorted(body.get("environment", {}).items())),
    }
    return {name: str(value) for name, value in told.items() if value != ""}
