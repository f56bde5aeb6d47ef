"""`viamachinae data fetch`, without a server."""

import pytest

from viamachinae.cli import main as cli
from viamachinae.errors import ResumeError
from viamachinae.stars import dataverse, sfd


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return end.value.code


def test_the_map_is_fetched_to_where_scans_look_for_it(tmp_path, monkeypatch, capsys):
    asked = []

    def download(dataset, names, folder):
        asked.append((dataset, names, folder))
        return [folder / name for name in names]

    monkeypatch.setattr(dataverse, "download", download)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert run("data", "fetch", "sfd") == 0
    assert asked == [(sfd.DATASET, sfd.FILES, sfd.folder_of())]
    said = capsys.readouterr().out
    assert str(tmp_path / "viamachinae/sfd/SFD_dust_4096_ngp.fits") in said
    assert "extinction.folder" not in said
    assert run("data", "fetch", "sfd", "--folder", str(tmp_path / "mine")) == 0
    assert asked[1][2] == tmp_path / "mine"
    assert f'extinction.folder = "{tmp_path / "mine"}"' in capsys.readouterr().out


def test_no_network_is_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NO_PROXY", "*")

    def download(dataset, names, folder):
        return real(dataset, names, folder, server="http://127.0.0.1:1")

    real = dataverse.download
    monkeypatch.setattr(dataverse, "download", download)
    assert run("data", "fetch", "sfd", "--folder", str(tmp_path)) == ResumeError.exit_code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "http://127.0.0.1:1 cannot be reached" in said
    assert "run the same command again" in said


def test_other_data_are_refused(capsys):
    assert run("data", "fetch", "planck") == 78
    assert "is not one of" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_the_systems_refusal(tmp_path, monkeypatch, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert run("data", "fetch", "sfd", "--folder", str(blocked / "maps")) != 0
    assert "file" in capsys.readouterr().err
