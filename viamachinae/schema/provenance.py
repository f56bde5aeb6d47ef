"""Which software makes a result: versions of the packages, and the commit of a checkout."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import viamachinae

__all__ = ["PACKAGES", "git_commit", "processor", "versions"]

#: Packages that decide results, beside this one and Python.
PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "torch", "astropy", "healpy", "ray")

#: Longest wait for git (s): a slow network folder must not hold up a task.
_PATIENCE = 10.0


@cache
def versions() -> dict[str, str]:
    """Return the version of Python, of this package and of those that decide results."""
    found = {"python": platform.python_version(), "viamachinae": viamachinae.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an optional package of a smaller installation
            continue
    return found


@cache
def git_commit() -> str:
    """Return the commit that runs, with ``-dirty`` behind it when files differ from it.

    Empty when the package is not run from a checkout of its own, or git cannot say.
    """
    root = Path(viamachinae.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return ""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit if changed == "" else f"{commit}-dirty"


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints; ``None`` when it fails. It takes no lock of the checkout."""
    command = ["git", "-C", str(root), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(  # noqa: S603  fixed words
            command, capture_output=True, text=True, timeout=_PATIENCE, env=environment, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def processor() -> str:
    """Return the type of the processor: results are equal to the last bit on one type alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
