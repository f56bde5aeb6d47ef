"""What the declarations in pyproject.toml cannot say: folders beside the package go into the wheel."""

from pathlib import Path

from setuptools import find_packages, setup

# Scans, batch scripts and reference tables are documents to read and edit, so they stand in the
# repository's root; a wheel carries them inside the package (see viamachinae.config.resources).
DATA = {"workflows": ["*.toml"], "slurm": ["*"], "catalogs": ["*.ecsv", "*.md"]}

root = Path(__file__).parent
present = {name: files for name, files in DATA.items() if (root / name).is_dir()}

setup(
    packages=[*find_packages(include=["viamachinae*"]), *(f"viamachinae.{name}" for name in present)],
    package_dir={f"viamachinae.{name}": name for name in present},
    package_data={"viamachinae": ["py.typed"], **{f"viamachinae.{n}": f for n, f in present.items()}},
)
