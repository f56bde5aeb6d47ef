"""What gets installed: the wheel is whole, and every version is pinned."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import viamachinae

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
FOLDERS = ("viamachinae", "workflows", "slurm", "catalogs")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    rows = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    rows = [row for row in rows if row and not row.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.!]*", row) for row in rows), "name==version alone"
    pairs = dict(row.split("==") for row in rows)
    assert len(pairs) == len(rows), "a name twice"
    return pairs


def requirements() -> list[Requirement]:
    declared = [Requirement(r) for r in project()["dependencies"]]
    for group in project()["optional-dependencies"].values():
        declared += [Requirement(r) for r in group]
    return [r for r in declared if r.name != "viamachinae"]


def installed_tree() -> Iterator[tuple[str, str | None]]:
    """Yield name and installed version of everything that the project needs, with all extras."""
    todo, done = requirements(), set()
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in done:
            continue
        done.add(key)
        try:
            found = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            yield key[0], None
            continue
        yield key[0], found.version
        for row in found.requires or []:
            needed = Requirement(row)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                todo.append(needed)


def test_every_version_is_pinned_and_is_what_is_tested():
    pinned = pins()
    wrong = []
    for name, version in installed_tree():
        if name not in pinned:
            wrong.append(f"{name} ({version}) is not pinned")
        elif version is not None and Version(version).public != pinned[name]:
            wrong.append(f"{name}: pinned {pinned[name]}, installed {version}")
    assert wrong == []


def test_pins_fit_the_declared_ranges():
    pinned = pins()
    assert [str(r) for r in requirements() if pinned[canonicalize_name(r.name)] not in r.specifier] == []


def test_torch_is_pinned_without_a_local_suffix_and_the_builder_is_pinned():
    assert pins()["torch"] == "2.13.0"
    assert {"setuptools", "pip", "pdoc"} <= set(pins())


def test_version_is_the_same_everywhere():
    version = project()["version"]
    assert viamachinae.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Return a wheel built from a copy of the tree, so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("tree")
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(out), str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_all_that_the_package_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "viamachinae").rglob("*.py")}
    assert modules <= names
    assert "viamachinae/py.typed" in names
    for folder in FOLDERS[1:]:
        files = [p for p in (ROOT / folder).glob("*") if p.is_file() and p.suffix != ".parquet"]
        assert {f"viamachinae/{folder}/{p.name}" for p in files} <= names
    assert not any(name.startswith(("tests/", "docs/", "workflows/")) for name in names)


def test_wheel_runs_from_an_empty_folder(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = (
        "import sys, viamachinae; from viamachinae.config.presets import workflow, workflows;"
        "sys.stdout.write(viamachinae.__file__ + ' ' + ' '.join(workflow(n).scan.name for n in workflows()))"
    )
    file, *scans = run("-c", code).split()
    assert Path(file).is_relative_to(site)
    assert scans == sorted(p.stem for p in (ROOT / "workflows").glob("*.toml"))
    run("-m", "viamachinae.cli.main", "init", "scan.toml")
    assert "[density]" in (empty / "scan.toml").read_text(encoding="utf-8")
