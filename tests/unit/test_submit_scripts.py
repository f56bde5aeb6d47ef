"""The scripts of slurm/, rendered for every cluster and really run, with programs in place of Slurm's."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm

from viamachinae.config.presets import workflow
from viamachinae.config.toml import load
from viamachinae.errors import ConfigError
from viamachinae.scan.batch.render import render, template
from viamachinae.scan.batch.request import Request, job_of
from viamachinae.scan.batch.site import Site, load_site, sites
from viamachinae.scan.batch.submit import prepare, submit

DEMO = workflow("demo")
SCRIPTS = ("array.sh", "merge.sh", "ray.sh")
VARIANTS = list(itertools.product(sites(), ("array", "ray"), (False, True), (None, "shifter", "podman-hpc")))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    made = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith(("SLURM_", "RAY_"))]:
        monkeypatch.delenv(name)
    return made


def run(slurm: FakeSlurm, out: Path, request: Request, site: Site | None = None) -> list[str]:
    return submit(prepare(DEMO, out, job_of(request, site or Site()), bin_folder=slurm.bin))


def directives(text: str) -> dict[str, str]:
    rows = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE)
    assert len({name for name, _ in rows}) == len(rows), "an option twice"
    return dict(rows)


@pytest.mark.parametrize(("site", "shape", "gpu", "container"), VARIANTS)
def test_every_variant_is_a_script(
    tmp_path: Path, site: str, shape: str, gpu: bool, container: str | None
) -> None:
    request = Request(shape, 2, gpu, account="m1", container=container, image="image:1" if container else "")
    submission = prepare(DEMO, tmp_path / "scan", job_of(request, load_site(site)))
    for script in submission.scripts:
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        text = script.read_text()
        head = text[: text.index("source ")]
        assert f"OUT={tmp_path / 'scan'}  #" in head
        assert f"CONTAINER={container or ''}  #" in head
        found = directives(text)
        assert found.get("gpus-per-task", "0") == ("0" if not gpu else "4" if site == "perlmutter" else "1")
        assert found["signal"] == "B:USR2@300"
        assert found["account"] == ("m1_g" if gpu and site == "perlmutter" else "m1")
        if site == "perlmutter":
            assert found["constraint"] == ("gpu" if gpu else "cpu")
            assert found["qos"] == "regular"
        assert ("image" in found) == (container == "shifter")


@pytest.mark.parametrize("name", [*SCRIPTS, "common.sh"])
def test_the_scripts_are_shell_as_they_stand(name: str) -> None:
    assert subprocess.run(["bash", "-n"], input=template(name), text=True, check=False).returncode == 0


def test_the_scripts_run_as_they_stand(
    tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(__file__).parents[2] / "slurm", tmp_path / "here" / "slurm")
    monkeypatch.chdir(tmp_path / "here")
    for name in SCRIPTS:
        subprocess.run(["sbatch", f"slurm/{name}"], check=True, capture_output=True)
    assert [job["codes"] for job in slurm.jobs()] == [[0, 0, 0, 0], [0], [0]]
    assert all(call["words"][:4] == ["run", "scan.toml", "--out", "scan"] for call in slurm.calls())


@pytest.mark.parametrize("fields", [{}, {"OUT": "x"}, {"NONE": "x"}])
def test_a_field_that_does_not_fit_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="field"):
        render("#!/bin/bash\nOUT=\nSCAN=\nsource it\n", {}, fields)


def test_what_a_name_holds_is_not_run(tmp_path: Path, slurm: FakeSlurm) -> None:
    out = tmp_path / "it's $(touch hacked)"
    fields = {"OUT": str(out), "LIST": ["a b", "$HOME"]}
    text = render('OUT=\nLIST=()\nsource /dev/null\nprintf "%s|" "$OUT" "${LIST[@]}"\n', {}, fields)
    done = subprocess.run(["bash"], input=text, capture_output=True, text=True, check=True)
    assert done.stdout == f"{out}|a b|$HOME|"
    with pytest.raises(ConfigError, match="blanks"):
        run(slurm, out, Request(nodes=1))
    with pytest.raises(ConfigError, match="%"):
        run(slurm, tmp_path / "50%", Request(nodes=1))


def test_an_array_runs_its_groups_and_then_the_rest(tmp_path: Path, slurm: FakeSlurm) -> None:
    out = tmp_path / "scan"
    first, second = str(slurm.first), str(slurm.first + 1)
    assert run(slurm, out, Request(nodes=5)) == [first, second]
    array, merge = slurm.jobs()
    assert (array["codes"], merge["codes"]) == ([0, 0], [0])  # the demo has two patches
    assert merge["words"] == ["--parsable", f"--dependency=afterok:{first}", "--kill-on-invalid-dep=yes"]
    (place,) = (out / "slurm").glob("*/")
    common = ["run", str(place / "scan.toml"), "--out", str(out), "--offline", "--stop-file"]
    groups = [call["words"] for call in slurm.calls()]
    assert all(words[:6] == common for words in groups)
    assert [words[-2:] for words in groups] == [["--group", "1/2"], ["--group", "2/2"], ["--workers", "8"]]
    assert [words[6] for words in groups] == [
        str(out / "slurm" / f"stop-{job}") for job in (f"{first}_1", f"{first}_2", second)
    ]
    assert {path.name for path in (out / "slurm").iterdir()} == {place.name, "jobs.txt"}


@pytest.mark.parametrize(
    ("ends", "code", "restarts"),
    [([75, 75, 0], 0, 2), ([70], 70, 0), ([65], 65, 0), ([78], 78, 0), ([1], 1, 0), ([75, 70], 70, 1)],
)
def test_a_job_comes_back_on_75_and_on_nothing_else(
    tmp_path: Path, slurm: FakeSlurm, ends: list[int], code: int, restarts: int
) -> None:
    slurm.tell(ends)
    run(slurm, tmp_path / "scan", Request(nodes=1))
    array, merge = slurm.jobs()
    assert (array["codes"], array["restarts"]) == ([code], restarts)
    assert merge["codes"] == ([0] if code == 0 else [None])


def test_a_job_that_never_ends_is_given_up(tmp_path: Path, slurm: FakeSlurm) -> None:
    slurm.tell([75])
    run(slurm, tmp_path / "scan", Request(nodes=1), Site(max_restarts=2))
    assert (slurm.jobs()[0]["codes"], slurm.jobs()[0]["restarts"]) == ([75], 2)


def test_a_job_that_gets_nothing_done_does_not_come_back_for_ever(tmp_path: Path, slurm: FakeSlurm) -> None:
    endless = Path(__file__).parents[1] / "slurm" / "endless.py"
    slurm.write(
        "viamachinae",
        f"import os, sys\nos.execv(sys.executable, [sys.executable, {str(endless)!r}, *sys.argv[1:]])",
    )
    run(slurm, tmp_path / "scan", Request(nodes=1), Site(grace=1))
    array, merge = slurm.jobs()
    assert (array["codes"], array["restarts"]) == ([70], 2)
    assert merge["codes"] == [None]
    assert list((tmp_path / "scan" / "slurm").glob("*-*")) == []


@pytest.mark.parametrize("shape", ["array", "ray"])
def test_the_warning_reaches_the_driver_as_a_file(tmp_path: Path, slurm: FakeSlurm, shape: str) -> None:
    slurm.tell(["wait", 0], warn="SIGUSR2")
    run(slurm, tmp_path / "scan", Request(shape, nodes=1))
    assert (slurm.jobs()[0]["codes"], slurm.jobs()[0]["restarts"]) == ([0], 1)


def test_a_job_that_slurm_ends_does_not_come_back(tmp_path: Path, slurm: FakeSlurm) -> None:
    slurm.tell(["wait", 0], warn="SIGTERM")
    run(slurm, tmp_path / "scan", Request(nodes=1))
    assert (slurm.jobs()[0]["codes"], slurm.jobs()[0]["restarts"]) == ([75], 0)


def test_ray_is_started_for_this_job_alone(tmp_path: Path, slurm: FakeSlurm) -> None:
    slurm.tell(environment={"SLURM_JOB_END_TIME": "1900000000", "SLURM_CPUS_PER_TASK": "16"})
    site = Site.model_validate({"cpu": {"threads_per_core": 2}})
    run(slurm, tmp_path / "scan", Request("ray", nodes=2), site)
    words = slurm.calls("ray")[0]
    port = 20000 + 10 * (slurm.first % 1200)
    assert words[:5] == ["symmetric-run", "--address", f"nid1:{port}", "--min-nodes", "2"]
    assert {"--num-cpus=8", "--num-gpus=0", f"--temp-dir=/tmp/vm-{slurm.first}"} <= set(words)
    ports = [int(word.split("=")[1]) for word in words if "-port=" in word]
    assert sorted(ports) == list(range(port + 1, port + 1 + len(ports)))
    (call,) = slurm.calls()
    environment = call["environment"]
    assert environment["SLURM_JOB_END_TIME"] == "1900000000"
    assert environment["RAY_ADDRESS"] == f"nid1:{port}"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert re.fullmatch("[0-9a-f]{64}", call["token"])
    runner = load(next((tmp_path / "scan" / "slurm").glob("*/scan.toml"))).runner
    assert (runner.address, runner.grace) == ("auto", 240.0)  # of the 300 s between warning and end


def test_a_launcher_that_runs_no_driver_has_failed(tmp_path: Path, slurm: FakeSlurm) -> None:
    slurm.write("ray", "")
    run(slurm, tmp_path / "scan", Request("ray", nodes=2))
    assert slurm.jobs()[0]["codes"] == [70]


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_TRES_PER_TASK": "cpu=128,gres/gpu=4"},
        {"SLURM_TRES_PER_TASK": "cpu:128,gres:gpu:4"},
        {"SLURM_TRES_PER_TASK": "gres/gpu:a100=4"},
        {"SLURM_GPUS_PER_TASK": "4"},
        {"SLURM_GPUS_PER_TASK": "a100:4"},
        {"SLURM_GPUS_ON_NODE": "4"},
    ],
)
def test_gpus_of_a_node_are_read_however_slurm_tells_them(
    tmp_path: Path, slurm: FakeSlurm, environment: dict[str, str]
) -> None:
    slurm.tell(environment=environment)
    run(slurm, tmp_path / "scan", Request("ray", 2, gpu=True), load_site("generic"))
    assert "--num-gpus=4" in slurm.calls("ray")[0]
    assert load(next((tmp_path / "scan" / "slurm").glob("*/scan.toml"))).runner.device == "cuda"


@pytest.mark.parametrize("shape", ["array", "ray"])
@pytest.mark.parametrize("container", ["shifter", "podman-hpc"])
def test_the_program_runs_in_the_container(
    tmp_path: Path, slurm: FakeSlurm, shape: str, container: str
) -> None:
    request = Request(shape, 1, gpu=True, container=container, image="image:1")
    run(slurm, tmp_path / "scan", request, load_site("generic"))
    assert all(set(job["codes"]) == {0} for job in slurm.jobs())
    words = slurm.calls(container)[0]
    if container == "shifter":
        assert words[:2] == ["--image=image:1", "--module=gpu"]
    else:
        assert {f"--volume={tmp_path / 'scan'}:{tmp_path / 'scan'}", "--net=host", "--gpu"} <= set(words)
        assert "RAY_AUTH_TOKEN_PATH" in words
    assert ("symmetric-run" in words) == (shape == "ray")
    assert "viamachinae" in words
