"""What may be asked of a cluster, and what is said when it may not; the command `submit`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import pytest
from fake_slurm import FakeSlurm

from viamachinae.cli import main as cli
from viamachinae.cli.run import options_of
from viamachinae.config.presets import workflow
from viamachinae.config.settings import Settings, StarSettings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError, ExitCode
from viamachinae.scan.batch.ready import refuse_changes, require_fetched
from viamachinae.scan.batch.request import Request, job_of
from viamachinae.scan.batch.site import Node, Site, load_site, seconds, sites
from viamachinae.scan.batch.submit import prepare
from viamachinae.scan.drive import run_scan
from viamachinae.scan.terms import Terms


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    made = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    # Jobs start the driver that is beside Python.
    monkeypatch.setattr(sys, "executable", str(made.bin / "python"))
    return made


def submit(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["submit", *words])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_the_clusters_have_names() -> None:
    assert sites() == ("generic", "perlmutter")
    assert all(load_site(name).time for name in sites())


@pytest.mark.parametrize(
    ("time", "length"),
    [("00:00:01", 1), ("48:00:00", 172_800), ("2-00:00:00", 172_800), ("100:30:05", 361_805)],
)
def test_a_wall_time_has_a_length(time: str, length: int) -> None:
    assert seconds(time) == length


@pytest.mark.parametrize("time", ["", "30", "1:00", "00:00:00", "00:60:00", "1-2", "-1:00:00", "six hours"])
def test_another_way_to_write_it_is_refused(time: str) -> None:
    with pytest.raises(ValueError, match="HH:MM:SS"):
        seconds(time)


@pytest.mark.parametrize(
    ("request_", "site", "said"),
    [
        (Request(), "perlmutter", "--account is missing"),
        (Request(account="m1", qos="express"), "perlmutter", "valid: regular, premium, preempt, debug"),
        (Request(account="m1", time="48:00:01"), "perlmutter", "48:00:00 at most"),
        (Request(account="m1", qos="debug"), "perlmutter", "00:30:00 at most"),
        (Request(account="m1", qos="debug", time="00:30:00", nodes=5), "perlmutter", "4 at most"),
        (Request("ray", 9, account="m1", qos="debug", time="00:30:00"), "perlmutter", "8 at most"),
        (Request("ray", 129, account="m1", qos="preempt"), "perlmutter", "128 at most"),
        (Request(account="m1_g"), "perlmutter", "add --gpu"),
        (Request(nodes=0), "generic", "1 or more"),
        (Request(time="tomorrow"), "generic", "HH:MM:SS"),
        (Request(time="00:05:00"), "generic", "warned 300 s before"),
        (Request(container="shifter"), "generic", "needs --image"),
        (Request(image="image:1"), "generic", "needs --container"),
    ],
)
def test_what_a_cluster_would_refuse_is_refused_in_one_line(request_: Request, site: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        job_of(request_, load_site(site))
    assert "\n" not in str(refused.value)


def test_gpus_need_nodes_that_have_them() -> None:
    with pytest.raises(ConfigError, match="no nodes with GPUs"):
        job_of(Request(gpu=True), Site())
    assert job_of(Request(gpu=True), Site(gpu=Node(gpus=2))).node.gpus == 2


@pytest.mark.parametrize(
    ("account", "gpu", "charged"), [("m1", False, "m1"), ("m1", True, "m1_g"), ("m1_g", True, "m1_g")]
)
def test_the_account_of_gpus_has_its_ending(account: str, gpu: bool, charged: str) -> None:
    assert job_of(Request(account=account, gpu=gpu), load_site("perlmutter")).account == charged


def test_the_limits_of_a_queue_are_allowed() -> None:
    debug = Request(account="m1", qos="debug", time="00:30:00", nodes=4)
    assert job_of(debug, load_site("perlmutter")).qos == "debug"
    assert job_of(Request(account="m1"), load_site("perlmutter")).qos == "regular"
    assert job_of(Request(qos="anything"), load_site("generic")).qos == "anything"


def test_a_cluster_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'time = "01:00:00"\n[cpu]\npartition = "long"\ncpus = 48\noptions = ["--licenses=scratch"]\n'
    )
    submission = prepare(workflow("demo"), tmp_path / "scan", job_of(Request(nodes=1), load_site(str(path))))
    text = submission.scripts[0].read_text()
    assert {
        "#SBATCH --time=01:00:00",
        "#SBATCH --partition=long",
        "#SBATCH --cpus-per-task=48",
        "#SBATCH --licenses=scratch",
    } <= set(text.splitlines())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time = ", "not valid TOML"),
        ("speed = 3", r"speed: no such key; valid: account, .*, qos"),
        ("[cpu]\nspeed = 3", r"cpu.speed: no such key; valid: constraint, .*, options"),
        ("[qos.fast]\nspeed = 3", r"qos.fast.speed: no such key; valid: max_time, max_nodes, max_jobs"),
        ('time = "soon"', r"time: a wall-time is written HH:MM:SS .* got 'soon'"),
        ('[cpu]\noptions = ["licenses"]', r"cpu.options.0 = 'licenses': write \"--name\""),
        ("[qos.fast]\nmax_nodes = 1", "qos.fast.max_time is missing: longest wall-time"),
        ("grace = 0", "grace = 0: input should be greater than or equal to 1"),
        ("cpu = 3", "cpu = 3: "),
    ],
)
def test_a_file_that_describes_no_cluster_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as refused:
        load_site(str(path))
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", ["nersc", "missing.toml"])
def test_an_unknown_cluster_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match=r"generic"):
        load_site(name)


def test_podman_sees_the_tables_of_stars(tmp_path: Path) -> None:
    tables = (str(tmp_path / "gaia" / "a.parquet"), str(tmp_path / "hats"), "https://host/b.parquet")
    (tmp_path / "hats").mkdir()
    settings = Settings(stars=StarSettings(source="files", paths=tables))
    request = Request("ray", 1, container="podman-hpc", image="image:1")
    submission = prepare(settings, tmp_path / "scan", job_of(request, Site()))
    (row,) = (r for r in submission.scripts[0].read_text().splitlines() if r.startswith("MOUNTS="))
    assert row.startswith(f"MOUNTS=({tmp_path / 'gaia'} {tmp_path / 'hats'})  #")


def test_a_dry_run_writes_and_submits_nothing(
    tmp_path: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan"
    assert submit("demo", "--out", str(out), "--site", "generic", "--dry-run") == ExitCode.COMPLETE
    said = capsys.readouterr().out
    assert "2 patches in 2 groups" in said
    (place,) = (out / "slurm").iterdir()
    assert f"sbatch --parsable {place}/array.sh" in said
    assert f"--dependency=afterok:JOB --kill-on-invalid-dep=yes {place}/merge.sh" in said
    assert slurm.jobs() == []
    assert (place / "array.sh").is_file()


def test_a_rehearsal_leaves_the_files_of_jobs_in_the_queue_alone(tmp_path: Path, slurm: FakeSlurm) -> None:
    out = tmp_path / "scan"
    words = ("demo", "--out", str(out), "--site", "generic")
    assert submit(*words) == ExitCode.COMPLETE
    (place,) = (out / "slurm").glob("*/")
    before = {path: path.read_bytes() for path in place.iterdir()}
    assert submit(*words, "--shape", "ray", "--dry-run") == ExitCode.COMPLETE
    assert {path: path.read_bytes() for path in place.iterdir()} == before
    assert len(list((out / "slurm").glob("*/"))) == 2
    # The same again is the same folder.
    assert submit(*words, "--shape", "ray", "--dry-run") == ExitCode.COMPLETE
    assert len(list((out / "slurm").glob("*/"))) == 2


def test_a_scan_whose_jobs_are_in_the_queue_is_not_submitted_twice(
    tmp_path: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan"
    words = ("demo", "--out", str(out), "--site", "generic")
    assert submit(*words) == ExitCode.COMPLETE
    slurm.queue("7", str(slurm.first + 1))
    assert submit(*words) == ExitCode.CONFIG
    said = capsys.readouterr().err
    assert f"in the queue ({slurm.first + 1})" in said
    assert "scancel" in said
    assert len(slurm.jobs()) == 2
    assert submit(*words, "--yes") == ExitCode.COMPLETE
    slurm.queue("7")
    assert submit(*words) == ExitCode.COMPLETE
    assert len(slurm.jobs()) == 6


def test_submit_names_the_jobs(tmp_path: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("demo", "--out", str(tmp_path / "scan"), "--site", "generic", "--shape", "ray", "--nodes", "3")
    assert submit(*words) == ExitCode.COMPLETE
    said = capsys.readouterr().out
    assert "2 patches on 3 nodes with one Ray" in said
    assert f"job {slurm.first}: ray.sh" in said
    assert f"scancel {slurm.first}" in said


def test_slurms_refusal_is_passed_on(
    tmp_path: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("demo", "--out", str(tmp_path / "scan"), "--site", "generic")
    slurm.tell(refuse="array.sh")
    assert submit(*words) == ExitCode.CONFIG
    said = capsys.readouterr().err
    assert "\nsbatch: error: Batch job submission failed: Invalid account" in said
    assert "scancel" not in said
    slurm.tell(refuse="merge.sh")
    assert submit(*words) == ExitCode.CONFIG
    assert f"scancel {slurm.first}" in capsys.readouterr().err


def test_a_machine_without_slurm_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert submit("demo", "--out", str(tmp_path / "scan"), "--site", "generic") == ExitCode.CONFIG
    assert "login node" in capsys.readouterr().err


def test_an_unwritable_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert submit("demo", "--out", str(tmp_path / "file"), "--site", "generic") == ExitCode.CONFIG
    assert "--out" in capsys.readouterr().err


def test_a_folder_that_sbatch_would_read_otherwise_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("has blank", "100%"):
        words = ("demo", "--out", str(tmp_path / name), "--site", "generic", "--dry-run")
        assert submit(*words) == ExitCode.CONFIG
        assert "viamachinae: --out " in capsys.readouterr().err


def test_submit_says_why_there_are_fewer_groups_and_what_of_a_node_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("demo", "--out", str(tmp_path / "scan"), "--site", "generic", "--dry-run")
    assert submit(*words, "--nodes", "16", "--gpu") == ExitCode.COMPLETE
    said = capsys.readouterr().out
    assert "2 patches in 2 groups (there are fewer patches than --nodes 16)" in said
    assert "1 GPU of each node" in said
    assert submit(*words, "--nodes", "2") == ExitCode.COMPLETE
    said = capsys.readouterr().out
    assert "2 patches in 2 groups, each" in said
    assert "GPU" not in said


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """A scan whose stars are loaded, and its folder."""
    demo, out = workflow("demo"), tmp_path_factory.mktemp("begun") / "scan"
    settings = demo.model_copy(
        update={
            "mock": demo.mock.model_copy(update={"density": 0.001, "streams": ()}),
            "runner": demo.runner.model_copy(update={"inline": True}),
        }
    )
    run_scan(settings, out, options_of(), stars_only=True)
    return settings, out


def test_changed_settings_of_a_scan_under_way_need_a_yes(
    begun: tuple[Settings, Path], tmp_path: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, out = begun
    toml = tmp_path / "scan.toml"
    words = (str(toml), "--out", str(out), "--site", "generic")
    toml.write_text(dump(settings))
    assert submit(*words) == ExitCode.COMPLETE
    toml.write_text(dump(workflow("demo")))
    assert submit(*words) == ExitCode.CONFIG
    assert "mock.density" in capsys.readouterr().err
    assert submit(*words, "--dry-run") == ExitCode.COMPLETE
    assert "without --dry-run this is refused: settings differ" in capsys.readouterr().err
    assert len(slurm.jobs()) == 2
    assert submit(*words, "--yes") == ExitCode.COMPLETE
    assert len(slurm.jobs()) == 4
    # The jobs, which ask nobody, find the new settings agreed to and the old ones not.
    refuse_changes(workflow("demo"), out)
    assert Terms.read(out) != Terms.of(settings)


def test_changed_tables_of_stars_need_a_yes(begun: tuple[Settings, Path], tmp_path: Path) -> None:
    settings, source = begun
    table = tmp_path / "stars.parquet"
    stars = pd.concat(pd.read_parquet(path) for path in (source / "stars").glob("*.parquet"))
    stars = stars[["source_id", "ra", "dec", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp"]]
    stars.drop_duplicates("source_id").to_parquet(table)
    files = StarSettings(source="files", paths=(str(table),), min_coverage=0.0)
    settings, out = settings.model_copy(update={"stars": files}), tmp_path / "scan"
    run_scan(settings, out, options_of(), stars_only=True)
    refuse_changes(settings, out)
    stars.iloc[::2].drop_duplicates("source_id").to_parquet(table)
    with pytest.raises(ConfigError, match="tables of stars have changed"):
        refuse_changes(settings, out)


def test_stars_that_are_not_fetched_are_asked_for(
    tmp_path: Path, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan"
    words = ("gd1", "--out", str(out), "--site", "generic")
    assert submit(*words) == ExitCode.DATA
    said = capsys.readouterr().err
    assert "cells of gaia-dr2" in said
    assert f"`viamachinae fetch SCAN.toml --out {out}`" in said
    assert not out.exists()
    assert submit(*words, "--dry-run") == ExitCode.COMPLETE
    assert (
        "without --dry-run this is refused: the nodes of a cluster have no network" in capsys.readouterr().err
    )
    assert len(list(out.glob("slurm/*/array.sh"))) == 1
    assert slurm.jobs() == []


def test_remote_tables_and_maps_are_asked_for_until_the_stars_are_loaded(
    begun: tuple[Settings, Path], tmp_path: Path
) -> None:
    settings, out = begun
    require_fetched(settings, out)
    remote = StarSettings(source="files", paths=("https://host/stars.parquet",))
    with pytest.raises(DataError, match=r"tables on other machines: https://host/stars.parquet"):
        require_fetched(settings.model_copy(update={"stars": remote}), tmp_path)
    maps = settings.extinction.model_copy(update={"map": "sfd", "folder": tmp_path})
    with pytest.raises(DataError, match=r"viamachinae data fetch sfd"):
        require_fetched(settings.model_copy(update={"extinction": maps}), tmp_path)


def test_tables_that_are_not_here_are_asked_for(tmp_path: Path) -> None:
    stars = StarSettings(source="files", paths=(str(tmp_path / "none.parquet"),))
    with pytest.raises(DataError, match=r"none.parquet.*stars.paths"):
        require_fetched(Settings(stars=stars), tmp_path)
