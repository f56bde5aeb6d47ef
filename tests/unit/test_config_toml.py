"""Settings from TOML: what is read, and what is refused with line, key, value and way out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from viamachinae.config.locate import lines
from viamachinae.config.settings import MockStream, Settings
from viamachinae.config.toml import dump, load, parse
from viamachinae.errors import ConfigError, ExitCode


def read(text: str) -> Settings:
    return parse(text, source="scan.toml", folder=None)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.exit_code == ExitCode.CONFIG
    return str(caught.value)


def test_empty_text_is_the_default():
    assert read("") == Settings()


def test_values_arrive():
    s = read(
        '[patches]\nradius = 12\ncentres = [[148.6, 24.2]]\n[regions]\nlimits = [-18, -8]\n[scan]\nname="a"'
    )
    assert s.patches.radius == 12.0
    assert s.patches.centres == ((148.6, 24.2),)
    assert s.regions.limits == (-18.0, -8.0)
    assert s.scan.name == "a"


def test_none_unsets_a_setting_that_has_a_default():
    assert Settings().selection.parallax_max is not None
    assert read('[selection]\nparallax_max = "none"').selection.parallax_max is None


def test_none_is_no_value_where_a_setting_is_needed():
    assert 'fiducial.radius = "none": expected a finite number above 0' in refused(
        '[fiducial]\nradius = "none"'
    )


# each: text, line, what the message must hold
ONE_PROBLEM = [
    ("[fiducial]\npm_min = inf\n", 2, "a finite number at least 0"),
    ("[fragments]\nmin_significance = inf\n", 2, "a finite number at least 0"),
    ("[patches]\n\nradius = -3\n", 3, "patches.radius = -3: expected a finite number above 0 and at most 30"),
    ("# c\n[patches]\nradius = 40\n", 3, "patches.radius = 40: expected"),
    ('[patches]\nradius = "15"\n', 2, 'patches.radius = "15": expected a finite number'),
    ("[patches]\nradius = true\n", 2, "patches.radius = true: expected a finite number"),
    ("[patches]\nradius = nan\n", 2, "patches.radius = NaN: expected a finite number"),
    ("[patches]\nradius = 1979-05-27\n", 2, "patches.radius = 1979-05-27: expected"),
    ("[scan]\nname = 1979-05-27\n", 2, "scan.name = 1979-05-27: expected a text"),
    ("[patches]\nnside = 6.5\n", 2, "patches.nside = 6.5: expected a whole number"),
    ("[density]\nbatch_norm = 1\n", 2, "density.batch_norm = 1: expected true or false"),
    ("[regions]\nstrides = 1\n", 2, "regions.strides = 1: unknown key, did you mean 'stride'?"),
    ("[stars]\nn_top = 5\n", 2, "unknown key, it belongs in [roi]"),
    ("[region]\nwidth = 5\n", 1, "unknown section, did you mean 'regions'?"),
    ("[fiducial]\nroi.width = 5\n", 2, "it is a section: write it below a line [roi] of its own"),
    ("radius = 5\n", 1, "unknown section, it belongs in [patches] or [fiducial]"),
    ("patches = 3\n", 1, "patches = 3: expected a table, written [patches]"),
    ("[[patches]]\nradius = 3\n", 1, "expected a table, written [patches]"),
    ('[stars]\nsource = "gaia"\n', 2, 'stars.source = "gaia": expected "gaia-dr2" or "gaia-dr3" or'),
    ('[stars]\nsource = "files"\n', 2, 'source = "files" needs paths'),
    ('[stars]\nsource = "gaia-dr3"\nrelease = "gaia-dr2"\n', 2, 'is not that of source = "gaia-dr3"'),
    ("[regions]\nwidth = 2\nstride = 3\n", 2, "stride (3.0) must not exceed width (2.0)"),
    ("[regions]\nstride = 9\n", 2, "stride (9.0) must not exceed width (6.0)"),
    ("[regions]\nlimits = [-8, -18]\n", 2, "limits must rise from low to high"),
    ("[regions]\nlimits = [-8, -7]\n", 2, "hold no region of width 6.0"),
    ("[regions]\nlimits = [1, 9, 10]\n", 2, "regions.limits = [1, 9, 10]: expected a list of 2"),
    ("[regions]\nlimits = [1]\n", 2, "regions.limits = [1]: expected a list of 2"),
    ("[regions]\ncoordinates = []\n", 2, "expected a list of 1 or more"),
    (
        '[regions]\ncoordinates = [\n"pm_lambda",\n"pm_phi"]\n',
        4,
        'regions.coordinates[1] = "pm_phi": expected',
    ),
    ('[regions]\ncoordinates = ["pm_lambda", "pm_lambda"]\n', 2, "coordinates must not repeat"),
    ("[fiducial]\ncolour = [1.0, 0.5]\n", 2, "colour must rise from low to high"),
    ("[fiducial]\n\nradius = 16\n", 3, "fiducial.radius (16.0) must not exceed patches.radius (15.0)"),
    (
        "[patches]\ncentres = [\n  [1, 2],\n  # c\n  [370, 2],\n]\n",
        5,
        "patches.centres[1][0] = 370: expected",
    ),
    ("[patches]\ncentres = [[1, 95]]\n", 2, "patches.centres[0][1] = 95: expected"),
    ('mock.density = "a"\n', 1, "mock.density = "),
    ('mock = { g_max = 20.0, density = "a" }\n', 1, "mock.density = "),
    ("[mock]\ng_max = 20.0\n[mock.streams]\nname = 'x'\n", 3, "mock.streams = "),
]


@pytest.mark.parametrize(("text", "line", "words"), ONE_PROBLEM)
def test_one_problem(text, line, words):
    message = refused(text)
    assert message.startswith(f"scan.toml, line {line}: ")
    assert words in message
    assert "\n" not in message


def test_unknown_key_lists_the_valid_ones():
    assert "valid keys of [roi]: " + ", ".join(type(Settings().roi).model_fields) in refused("[roi]\nx = 1")


STREAMS = """\
[mock]
density = 0.5

[[mock.streams]]
name = "one"
n_stars = 100
start = [10.0, 20.0]
end = [30.0, 20.0]
pm_along = [5.0, 5.0]

[[mock.streams]]
name = "two"
n_stars = 100
start = [10.0, 20.0]
end = [30.0, 20.0]
pm_along = [5.0, 5.0]
"""


def test_streams_are_read():
    streams = read(STREAMS).mock.streams
    assert [s.name for s in streams] == ["one", "two"]
    assert isinstance(streams[0], MockStream)


def test_problem_in_the_second_table_of_an_array():
    message = refused(STREAMS + 'width = "wide"\n')
    assert message.startswith('scan.toml, line 17: mock.streams[1].width = "wide": expected a finite number')


def test_missing_key_points_at_its_table():
    text = STREAMS + "\n[[mock.streams]]\nname = 'three'\nn_stars = 5\nstart = [1, 1]\nend = [2, 2]\n"
    assert refused(text).startswith("scan.toml, line 18: mock.streams[2].pm_along is missing")


@pytest.mark.parametrize("end", ["[10.0, 20.0]", "[190.0, -20.0]", "[10.0, 20.0000000001]"])
def test_a_stream_without_a_great_circle_is_refused(end):
    message = refused(STREAMS.replace("[30.0, 20.0]", end, 1))
    assert message.startswith("scan.toml, line 7: mock.streams[0].start = [10.0, 20.0]: ")
    assert "same or opposite points" in message


def test_a_track_through_a_pole_or_the_meridian_is_one():
    text = STREAMS.replace(
        "start = [10.0, 20.0]\nend = [30.0, 20.0]", "start = [0.0, 89.0]\nend = [359.9, 89.0]", 1
    )
    assert read(text).mock.streams[0].end == (359.9, 89.0)


def test_same_name_twice_is_refused():
    assert "streams need different names" in refused(STREAMS.replace('"two"', '"one"'))


def test_all_problems_come_at_once_in_the_order_of_lines():
    message = refused(
        "[patches]\nradius = -1\nnsides = 6\n[regions]\nstride = 9\nmin_stars = 5\nmax_stars = 2\n"
        "[fiducial]\ncolour = [2, 1]\n[roi]\nn_top = 'a'\n"
    )
    assert message.startswith("6 problems in scan.toml:")
    assert [int(n) for n in re.findall(r"scan\.toml, line (\d+): ", message)] == [2, 3, 5, 6, 9, 11]


def test_comparison_with_a_refused_value_is_not_reported():
    message = refused("[regions]\nwidth = 'wide'\nstride = 9\n")
    assert "must not exceed" not in message


def test_line_numbers_survive_windows_line_ends():
    assert refused("# a\r\n[patches]\r\nradius = -3\r\n").startswith("scan.toml, line 3: ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[scan\nname = 1\n", 1),
        ("[scan]\nname = \n", 2),
        ("[scan]\nseed = 1\nseed = 2\n", 3),
        ("[scan]\nname = wide\n", 2),
    ],
)
def test_broken_toml_names_the_line(text, line):
    message = refused(text)
    assert message.startswith("scan.toml: not valid TOML")
    assert f"at line {line}," in message


def test_locator_in_every_kind_of_table_and_string():
    text = '''\
top = "# no [comment] \\" here"   # line 1
a.b."c d" = 1
s = """
[not.a.table]
x = 1 ""\\""""
lit = \'\'\'
y = 2\'\'\'
[t]
inline = { p = 1, q = { r = [1, 2] } }
list = [ # comment ]
  1, [
    2, 3 ],
]
[[t.array]]
k = 1
[t.array.sub]
z = 1979-05-27 07:32:00
[[t.array]]
k = 2
'''
    expected = {
        ("top",): 1,
        ("a", "b", "c d"): 2,
        ("s",): 3,
        ("lit",): 6,
        ("t",): 8,
        ("t", "inline", "q", "r", 1): 9,
        ("t", "list", 0): 11,
        ("t", "list", 1, 1): 12,
        ("t", "array", 0, "k"): 15,
        ("t", "array", 0, "sub", "z"): 17,
        ("t", "array", 1, "k"): 19,
    }
    found = lines(text)
    assert {k: found.get(k) for k in expected} == expected
    assert not any(key[-1] in ("x", "y") for key in found)


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes("# Malmö".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.toml")


def test_file_is_named_in_the_message(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[scan]\nseed = -1\n")
    with pytest.raises(ConfigError, match=re.escape(f"{path}, line 2: scan.seed = -1")):
        load(path)


def scan_of(folder: Path, paths: str) -> Path:
    path = folder / "scan.toml"
    path.write_text(f'[stars]\nsource = "files"\npaths = {paths}\n')
    return path


def test_paths_start_at_the_folder_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "gaia").mkdir()
    for name in ("gaia/b.parquet", "gaia/a.parquet", "gaia/notes.txt", "one.csv"):
        (tmp_path / name).write_text("x")
    monkeypatch.chdir("/")
    files = tuple(str(tmp_path / n) for n in ("one.csv", "gaia/a.parquet", "gaia/b.parquet"))
    assert load(scan_of(tmp_path, '["one.csv", "gaia"]')).stars.paths == files
    assert load(scan_of(tmp_path, '["one.csv", "gaia/*.parquet", "gaia"]')).stars.paths == files
    assert load(scan_of(tmp_path, f'["{tmp_path}/one.csv"]')).stars.paths == files[:1]


def test_paths_that_lead_nowhere_are_all_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.csv").touch()
    path = scan_of(tmp_path, '[\n"a.parquet",\n"b*.fits",\n"empty",\n"zero.csv"]')
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    for line, words in enumerate(
        ("no file", "no file matches", "holds no table", "is empty (0 bytes)"), start=4
    ):
        assert re.search(rf"line {line}: stars\.paths\[{line - 4}\] = .*{re.escape(words)}", message), message


def test_round_trip_of_the_default():
    assert read(dump(Settings())) == Settings()


def test_round_trip_with_every_kind_of_value(tmp_path):
    table = tmp_path / 'stars "1" \\ ü\x7f.csv'
    table.write_text("x")
    text = (
        STREAMS + 'feh = -1.25\nwidth = 1e-5\n[stars]\nsource = "files"\npaths = ["{}"]\ncarry = ["truth"]\n'
    )
    text += '[selection]\nparallax_max = "none"\ng_max = 19.5\n[regions]\nlimits = [-1e3, 1e16]\n'
    text += (
        '[density]\nname = "maf"\nbatch_norm = true\n'
        "[fiducial]\nmasks = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]\n"
    )
    name = str(table).replace("\\", "\\\\").replace('"', '\\"').replace("\x7f", "\\u007f")
    (tmp_path / "in.toml").write_text(text.replace("{}", name), encoding="utf-8")
    settings = load(tmp_path / "in.toml")
    assert settings.stars.paths == (str(table),)
    (tmp_path / "out.toml").write_text(dump(settings), encoding="utf-8")
    assert load(tmp_path / "out.toml") == settings


def test_every_setting_stands_below_its_description():
    rows = dump(Settings()).splitlines()
    assert max(map(len, rows)) <= 90
    for name, section in Settings():
        at = rows.index(f"[{name}]")
        for key, field in type(section).model_fields.items():
            if (name, key) in {("mock", "streams"), ("mock", "progenitors")}:  # tables of their own
                continue
            own = next(i for i in range(at, len(rows)) if re.match(rf"(# )?{key} = ", rows[i]))
            comment = []
            for row in reversed(rows[at + 1 : own]):
                if not row.startswith("# ") or re.match(r"# \w+ = \"none\"$", row):
                    break
                comment.insert(0, row.removeprefix("# "))
            assert " ".join(comment) == field.description, key
