"""The house keeps its shape: what may import what, and what stays unloaded."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import viamachinae

PACKAGE = Path(viamachinae.__file__).parent

# docs/architecture.md: a module may import from rooms of a lower number, and from its own room.
# The report stands above the calibration, whose words it repeats.
FLOORS = {
    "errors": 0,
    "config": 1,
    "schema": 1,
    "sky": 2,
    "stars": 3,
    "density": 4,
    "anomaly": 5,
    "streams": 6,
    "catalog": 7,
    "calibration": 7,
    "benchmark": 7,
    "report": 8,
    "scan": 9,
    "cli": 10,
}
ONLY_IN = {
    "torch": {"density", "anomaly", "benchmark"},
    "nflows": {"density", "anomaly", "benchmark"},
    "ray": {"scan"},
    "astroquery": {"stars"},
    "pyvo": {"stars"},
    "requests": {"stars"},
    "hats": {"stars"},
    "gala": {"stars"},
    "dustmaps": {"stars"},
    "zero_point": {"stars"},
    "typer": {"cli"},
}
IMPORTED_AS = {
    "gaiadr3-zeropoint": "zero_point",
    "pillow": "PIL",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}
HEAVY = ("torch", "ray", "astroquery", "pyvo", "requests", "gala", "hats", "nflows")
SLOW = ("healpy", "matplotlib", "astropy", "sklearn", "mocpy")

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages([str(PACKAGE)], "viamachinae.")
    if not info.name.endswith("__main__")
)


def room_of(module: str) -> str | None:
    """Return the room of a module of this package, None for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports(source: Path) -> set[str]:
    """Return every absolute module name that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import, write the full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def source_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def upward(module: str, names: set[str]) -> list[str]:
    """Return the imports of a module that its floor does not allow."""
    room = room_of(module)
    bad = []
    for name in names:
        target = room_of(name) if name.split(".")[0] == "viamachinae" else None
        if target is None or target == room or target.startswith("__"):
            continue
        assert target in FLOORS, f"{module} imports {name}: give its room a floor here and in docs/"
        if room is None or FLOORS[target] >= FLOORS[room]:
            bad.append(f"{module} -> {name}")
    return bad


def strangers(module: str, names: set[str]) -> list[str]:
    """Return the imports of libraries that the room of a module must not know."""
    tops = {name.split(".")[0] for name in names}
    return [f"{module} -> {top}" for top in tops & set(ONLY_IN) if room_of(module) not in ONLY_IN[top]]


def test_every_room_has_a_floor():
    rooms = {room_of(m) for m in MODULES}
    assert rooms <= set(FLOORS)
    assert {"config", "schema", "sky", "stars", "density", "anomaly", "streams", "scan", "cli"} <= rooms


@pytest.mark.parametrize("module", ["viamachinae", *MODULES])
def test_nothing_imports_upward(module):
    assert upward(module, imports(source_of(module))) == []


@pytest.mark.parametrize("module", ["viamachinae", *MODULES])
def test_libraries_stay_in_their_rooms(module):
    assert strangers(module, imports(source_of(module))) == []


def test_the_two_checks_can_fail():
    assert upward("viamachinae.sky.frame", {"viamachinae.scan.store.Store"})
    assert upward("viamachinae.report.page", {"viamachinae.scan.store.Store"})
    assert upward("viamachinae.catalog.export", {"viamachinae.calibration.rates.compare"})
    assert upward("viamachinae", {"viamachinae.errors.ConfigError"})
    assert not upward("viamachinae.scan.store", {"viamachinae.sky.frame.PatchFrame", "numpy"})
    assert strangers("viamachinae.sky.frame", {"torch.nn"})
    assert not strangers("viamachinae.density.maf", {"torch.nn"})


def test_every_library_that_is_imported_is_declared():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = [*project["dependencies"], *(r for g in project["optional-dependencies"].values() for r in g)]
    declared = {re.split(r"[^A-Za-z0-9-]", row)[0] for row in rows}
    declared |= {IMPORTED_AS.get(name, name) for name in declared}
    used = {name.split(".")[0] for module in MODULES for name in imports(source_of(module))}
    undeclared = used - set(sys.stdlib_module_names) - declared - {"viamachinae", "pydantic_core"}
    assert undeclared == set()


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_and_its_public_names_exist(module):
    loaded = importlib.import_module(module)
    if loaded.__doc__ is None:
        pytest.fail(f"{module} has no docstring")
    if Path(loaded.__file__).name == "__init__.py" and not imports(source_of(module)):
        return  # a room without public names of its own
    names = loaded.__all__
    assert len(set(names)) == len(names), f"{module}.__all__ holds a name twice"
    for name in names:
        assert hasattr(loaded, name), f"{module}.__all__ names {name!r}, which it does not have"


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after ``code``."""
    tail = "\nimport sys, json; sys.stderr.write('LOADED' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stderr.split("LOADED")[1])}


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import viamachinae") & {*HEAVY, *SLOW, "numpy", "pandas"}


def test_help_loads_nothing_heavy():
    code = (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['viamachinae', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('viamachinae.cli.main', run_name='__main__')\n"
    )
    assert not loaded_by(code) & {*HEAVY, *SLOW}


def test_help_answers_with_the_commands():
    done = subprocess.run(
        [sys.executable, "-m", "viamachinae.cli.main", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"demo", "init", "run", "calibrate", "export"} <= set(done.stdout.split())
