import numpy as np
import pandas as pd
import pytest

from viamachinae.calibration import (
    CAVEATS,
    apply,
    central_limits,
    check_comparable,
    comparable_areas,
    compare,
    differences,
    explain,
    summarise,
    upper_limit,
)
from viamachinae.config import Settings
from viamachinae.errors import ConfigError, DataError
from viamachinae.schema import CALIBRATION

STREAM = {"name": "s", "n_stars": 10, "start": (1, 2), "end": (3, 4), "pm_along": (5, 5)}


def candidates(*significances):
    names = [f"VM{k}" for k in range(len(significances))]
    return pd.DataFrame({"stream_id": names, "significance": np.array(significances, dtype=float)})


def settings(**sections):
    return Settings.model_validate(sections)


# Table 40.3 of the Review of Particle Physics (one-sided) and Garwood's own (central).
@pytest.mark.parametrize(
    ("n", "low", "high", "upper"),
    [(0, 0, 3.689, 2.996), (1, 0.0253, 5.572, 4.744), (3, 0.619, 8.767, 7.754), (10, 4.795, 18.390, 16.962)],
)
def test_limits_match_published_tables(n, low, high, upper):
    got = central_limits(n)
    assert float(got[0]) == pytest.approx(low, abs=5e-4)
    assert float(got[1]) == pytest.approx(high, abs=5e-4)
    assert float(upper_limit(n)) == pytest.approx(upper, abs=5e-4)


@pytest.mark.parametrize("mean", [0.3, 1.7, 6.0, 25.0])
def test_limits_cover_at_their_level(mean):
    counts = np.random.default_rng(5).poisson(mean, 20_000)
    low, high = central_limits(counts)
    assert ((low <= mean) & (mean <= high)).mean() >= 0.948
    assert (mean <= upper_limit(counts)).mean() >= 0.948


@pytest.mark.parametrize("bad", [-1, 1.5, np.nan])
def test_limits_refuse_what_is_no_count(bad):
    with pytest.raises(DataError, match="0, 1, 2"):
        central_limits([3, bad])


def test_limits_refuse_impossible_confidence():
    with pytest.raises(DataError, match="between 0 and 1"):
        upper_limit(3, 95)


def test_compare_counts_and_scales_by_area():
    table = compare(candidates(9.0, 6.0, 5.0), candidates(6.0, 5.5, 4.0), 100.0, 400.0)
    assert list(table.columns) == list(CALIBRATION.names)
    assert table["n_null"].tolist() == [0, 1, 2]
    assert table["n_data"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(table["expected"], [0, 0.25, 0.5])
    np.testing.assert_allclose(table["expected_high"][0], 3.6889 / 4, rtol=1e-4)
    np.testing.assert_allclose(table["p_value"], 1 - 0.8 ** np.array([1, 2, 3]))
    np.testing.assert_allclose(table["q_value"], [0.25, 0.25, 0.25])


def test_order_of_rows_does_not_matter():
    null = candidates(6.0, 5.5, 4.0)
    table = compare(candidates(9.0, 6.0, 5.0, 3.0), null, 100, 150)
    shuffled = candidates(9.0, 6.0, 5.0, 3.0).iloc[[2, 0, 3, 1]]
    again = compare(shuffled, null.iloc[::-1], 100, 150).set_index("stream_id")
    pd.testing.assert_frame_equal(again.loc[table["stream_id"]], table.set_index("stream_id"))


def test_less_significant_is_never_surer():
    rng = np.random.default_rng(3)
    table = compare(
        candidates(*(4 + rng.exponential(2, 60))), candidates(*(4 + rng.exponential(1, 80))), 3, 4
    )
    table = table.sort_values("significance", ascending=False)
    for column in ("n_null", "expected", "expected_upper", "p_value", "q_value"):
        assert (np.diff(table[column]) >= 0).all(), column
    assert table["q_value"].between(0, 1).all()
    assert table["q_value"].iloc[0] < 0.5 < table["p_value"].iloc[-1]


def test_p_value_is_exact_on_streamless_skies():
    """Over pairs of streamless skies, P(best candidate's p <= a) does not exceed a, and comes near it."""
    rng = np.random.default_rng(11)
    best = []
    for _ in range(1500):
        data, null = rng.normal(size=rng.poisson(6)), rng.normal(size=rng.poisson(60))
        if len(data):
            best.append(compare(candidates(data.max()), candidates(*null), 10, 100)["p_value"][0])
    best = np.array(best)
    for level in (0.1, 0.3, 0.6):
        attainable = 1 - (10 / 11) ** np.floor(np.log1p(-level) / np.log(10 / 11) + 1e-9)
        assert (best <= level).sum() / 1500 == pytest.approx(attainable, abs=0.04)
        assert attainable <= level


def test_q_value_controls_the_false_share():
    """Lists cut at q <= 0.2 hold on average at most 20 % of false candidates."""
    rng = np.random.default_rng(12)
    shares = []
    for _ in range(400):
        n_false = rng.poisson(8)
        values = np.concatenate([rng.normal(8, 1, 15), rng.normal(5, 1, n_false)])
        table = compare(candidates(*values), candidates(*rng.normal(5, 1, rng.poisson(16))), 1, 2)
        taken = table["q_value"].to_numpy() <= 0.2
        shares.append(taken[15:].sum() / max(taken.sum(), 1))
    assert 0.02 < np.mean(shares) <= 0.2


def test_no_null_candidates_still_leaves_doubt():
    table = compare(candidates(30.0), candidates(), 100, 100)
    assert table["expected"][0] == 0
    assert table["p_value"][0] == pytest.approx(0.5)
    assert table["expected_upper"][0] == pytest.approx(2.9957, abs=1e-3)


def test_no_candidates():
    table = compare(candidates(), candidates(5.0), 100, 100)
    assert len(table) == 0
    assert tuple(table.columns) == CALIBRATION.names
    summary = summarise(candidates(), candidates(5.0), 100, 100)
    assert summary.n_candidates == 0
    assert np.isnan(summary.rate_upper)
    assert "no false-positive rate" in explain(summary)


@pytest.mark.parametrize("area", [0.0, -3.0, np.nan, np.inf])
def test_areas_must_be_positive(area):
    with pytest.raises(DataError, match="searched area of the null scan"):
        compare(candidates(5.0), candidates(), 100, area)
    with pytest.raises(DataError, match="area of the scan"):
        summarise(candidates(5.0), candidates(), area, 100)


def test_not_finite_significance_names_the_candidate():
    with pytest.raises(DataError, match=r"\['VM1'\] of the null scan"):
        compare(candidates(5.0), candidates(4.0, np.nan), 1, 1)


def test_summary_gives_the_rate_of_the_papers():
    streams, null = candidates(*np.linspace(4, 12, 102)), candidates(*np.linspace(4, 5, 7))
    summary = summarise(streams, null, 1000, 1000)
    assert summary.n_candidates == 102
    assert summary.rate == pytest.approx(7 / 102)
    assert summary.rate_upper == pytest.approx(13.148 / 102, rel=1e-4)
    above = summarise(streams, null, 1000, 1000, threshold=6.0)
    assert above.n_null == 0
    assert above.n_candidates < 102
    text = explain(above)
    assert "6.00 or more" in text
    assert "95 % confidence" in text
    with pytest.raises(DataError, match="threshold"):
        summarise(streams, null, 1000, 1000, threshold=np.nan)


def test_caveats_say_what_must_be_said():
    text = " ".join(CAVEATS)
    assert "only ranks" in text
    assert "lower limit" in text


def test_apply_fills_p_values_by_id():
    streams = candidates(5.0, 9.0).assign(p_value=np.nan)
    table = compare(streams, candidates(6.0), 1, 9).iloc[::-1]
    filled = apply(streams, table)
    np.testing.assert_allclose(filled["p_value"], [0.19, 0.1])
    assert streams["p_value"].isna().all()
    with pytest.raises(DataError, match="VM1"):
        apply(streams.iloc[:1], table)


def test_comparable_areas_takes_the_cautious_kind():
    assert comparable_areas((500, 600), (500, 600)) in ((500, 500), (600, 600))
    assert comparable_areas((500, 900), (500, 600)) == (900, 600)
    assert comparable_areas((500, 600), (500, 900)) == (500, 500)


def test_other_skies_are_comparable():
    ours = settings(
        scan={"name": "a", "seed": 3, "keep_models": True},
        stars={"source": "files", "paths": ["a.parquet"], "release": "gaia-dr2", "carry": ["truth"]},
        patches={"centres": [(1, 2)]},
        fiducial={"masks": [(1, 2, 0.5)]},
        selection={"ruwe_max": 1.4},
        regions={"group_size": 3},
        mock={"density": 0.5},
        runner={"inline": True},
    )
    null = settings(stars={"source": "files", "paths": ["b.parquet"]}, patches={"nside": 4, "b_min": 40})
    check_comparable(ours, null)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("selection", "parallax_max", 0.5),
        ("patches", "radius", 12.0),
        ("fiducial", "g_max", 19.5),
        ("regions", "limits", (-18, -8)),
        ("roi", "n_top", 50),
        ("scorer", "folds", 3),
        ("density", "blocks", 2),
        ("lines", "rim", 0.5),
        ("fragments", "min_trainings", 3),
        ("streams", "max_pm", 1.0),
        ("members", "degree", 1),
        ("mock", "density", 0.5),
    ],
)
def test_what_shapes_candidates_must_agree(section, key, value):
    ours, null = settings(), settings(**{section: {key: value}})
    assert list(differences(ours, null)) == [f"{section}.{key}"]
    with pytest.raises(ConfigError, match=f"(?s){section}.{key}: .*run the null scan again"):
        check_comparable(ours, null)


def test_every_difference_is_named():
    with pytest.raises(ConfigError, match=r"(?s)roi.n_top.*lines.width"):
        check_comparable(settings(), settings(roi={"n_top": 50}, lines={"width": 2.0}))


def test_what_mends_real_measurements_may_be_absent_from_the_null_only():
    selection = {"ruwe_max": 1.4, "flux_excess_sigma": 3.0, "zero_point": True}
    check_comparable(settings(selection=selection, extinction={"map": "sfd"}), settings())
    with pytest.raises(ConfigError, match="ruwe_max"):
        check_comparable(settings(), settings(selection={"ruwe_max": 1.4}))


def test_dust_of_a_galaxia_sky_is_corrected_for_as_that_of_the_scan():
    dust = {"extinction": {"map": "sfd"}}
    real, null = {"source": "gaia-dr2"}, {"source": "galaxia-dr2"}
    check_comparable(settings(stars=real, **dust), settings(stars=null, **dust))
    with pytest.raises(ConfigError, match=r"extinction.map: 'sfd' in the scan, 'none' in the null scan"):
        check_comparable(settings(stars=real, **dust), settings(stars=null))


@pytest.mark.parametrize(
    "null",
    [
        {"stars": {"source": "galaxia-dr2"}},
        {"stars": {"source": "mock"}, "mock": {"release": "gaia-dr2"}},
        {"stars": {"source": "files", "paths": ["b.parquet"], "release": "gaia-dr2"}},
    ],
)
def test_a_null_sky_has_the_errors_of_the_same_release(null):
    check_comparable(settings(stars={"source": "gaia-dr2"}), settings(**null))
    with pytest.raises(ConfigError, match=r'of gaia-dr3, the null scan .* of gaia-dr2.*"galaxia-dr3"'):
        check_comparable(settings(stars={"source": "gaia-dr3"}), settings(**null))


def _depths(ours, theirs):
    """A scan of Gaia DR2 with these selections and its null scan of the embedded mock sky."""
    null = {"selection": {"g_max": theirs.pop("selection", None)}, "mock": theirs}
    return settings(stars={"source": "gaia-dr2"}, selection={"g_max": ours}), settings(**null)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (20.2, {"g_max": 20.2}),
        (20.0, {"g_max": 20.2, "selection": 20.0}),
        (20.2, {"g_max": 20.2, "selection": 20.5}),
    ],
)
def test_skies_that_are_as_deep_are_comparable(ours, theirs, caplog):
    check_comparable(*_depths(ours, theirs))
    assert not caplog.records


def test_skies_of_other_depths_are_refused():
    with pytest.raises(ConfigError, match=r"selection.g_max: 20.5 in the scan, None in the null scan"):
        check_comparable(*_depths(20.5, {"g_max": 20.2}))
    with pytest.raises(ConfigError, match=r"G = 20.5 \(selection.g_max\), .* G = 20.2 \(mock.g_max\)"):
        check_comparable(*_depths(20.5, {"g_max": 20.2, "selection": 20.5}))


def test_a_depth_that_one_sky_does_not_state_is_warned_of(caplog):
    check_comparable(*_depths(None, {"g_max": 20.2}))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    said = record.getMessage()
    assert 'unknown limit (stars.source = "gaia-dr2" without selection.g_max)' in said
    assert "the null scan to G = 20.2 (mock.g_max)" in said
    caplog.clear()
    check_comparable(settings(stars={"source": "gaia-dr2"}), settings(stars={"source": "galaxia-dr2"}))
    assert not caplog.records


def test_the_real_sky_is_no_null_sky():
    with pytest.raises(ConfigError, match='"gaia-dr3", the real sky with its streams'):
        check_comparable(settings(stars={"source": "gaia-dr3"}), settings(stars={"source": "gaia-dr3"}))


def test_a_null_sky_has_no_streams():
    check_comparable(settings(mock={"streams": [STREAM]}), settings())
    with pytest.raises(ConfigError, match=r"injected streams \['s'\]"):
        check_comparable(settings(), settings(mock={"streams": [STREAM]}))


def test_a_null_sky_is_another_sky():
    same = {"source": "files", "paths": ["a.parquet"]}
    with pytest.raises(ConfigError, match=r"both read \['a.parquet'\]"):
        check_comparable(settings(stars=same), settings(stars=same))


def test_a_rate_without_a_bound_is_not_called_below_one() -> None:
    text = explain(summarise(candidates(9.0), candidates(6.0, 5.0), 100, 100))
    assert "95 % limits 24 % to above 100 %; not bounded below 100 %" in text
    assert "below above" not in text
