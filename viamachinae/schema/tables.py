"""Every public table of a scan, declared once."""

from __future__ import annotations

from viamachinae.schema.core import Column, TableSchema

__all__ = [
    "CALIBRATION",
    "CELLS",
    "FRAGMENTS",
    "MASKS",
    "MEMBERS",
    "PATCHES",
    "REGIONS",
    "ROIS",
    "SCORES",
    "STARS",
    "STREAMS",
    "TABLES",
    "TRACKS",
]

_PATCH = Column("patch", "string", "", "name of the patch")
_COORDINATE = Column("coordinate", "string", "", "scan coordinate: pm_phi_coslambda or pm_lambda")
_REGION = Column("region", "int32", "", "signal region k: its low edge is k times the stride")
_SLICE = Column(
    "slice",
    "int32",
    "",
    "slice k of the orthogonal proper motion: its low edge is k times the stride; -1000000: whole region",
)

PATCHES = TableSchema(
    "patches",
    "the fields of the search",
    (
        _PATCH,
        Column("ra", "float64", "deg", "right ascension of the centre (ICRS)"),
        Column("dec", "float64", "deg", "declination of the centre (ICRS)"),
        Column("l", "float64", "deg", "Galactic longitude of the centre"),
        Column("b", "float64", "deg", "Galactic latitude of the centre"),
        Column("radius", "float64", "deg", "radius of the patch"),
        Column("healpix", "int64", "", "HEALPix pixel (RING, Galactic) of the tiling; -1: given centre"),
    ),
)

MASKS = TableSchema(
    "masks",
    "circles of known objects: their stars train the densities, but are never ranked",
    (
        Column("name", "string", "", "name of the object"),
        Column(
            "kind",
            "string",
            "",
            "globular cluster, dwarf galaxy, open cluster, Magellanic Cloud; or user, for fiducial.masks",
        ),
        Column("ra", "float64", "deg", "right ascension of the centre (ICRS)"),
        Column("dec", "float64", "deg", "declination of the centre (ICRS)"),
        Column("radius", "float64", "deg", "radius of the circle"),
        Column("pmra", "float64", "mas / yr", "proper motion of the object, where known"),
        Column("pmdec", "float64", "mas / yr", "proper motion of the object, where known"),
        Column("reference", "string", "", "where position and size come from"),
    ),
)

CELLS = TableSchema(
    "cells",
    "the sources of one HEALPix cell of an archive, as downloaded; columns that it lacks are left out",
    (
        Column("source_id", "int64", "", "source identifier of the release"),
        Column("ra", "float64", "deg", "right ascension (ICRS, at ref_epoch)"),
        Column("dec", "float64", "deg", "declination (ICRS, at ref_epoch)"),
        Column("ra_error", "float32", "mas", "standard error of ra, times cos(dec)", optional=True),
        Column("dec_error", "float32", "mas", "standard error of dec", optional=True),
        Column("pmra", "float64", "mas / yr", "proper motion in right ascension, times cos(dec)"),
        Column("pmdec", "float64", "mas / yr", "proper motion in declination"),
        Column("parallax", "float64", "mas", "parallax"),
        Column("pmra_error", "float32", "mas / yr", "standard error of pmra"),
        Column("pmdec_error", "float32", "mas / yr", "standard error of pmdec"),
        Column("parallax_error", "float32", "mas", "standard error of parallax"),
        Column("pmra_pmdec_corr", "float32", "", "correlation of pmra and pmdec", optional=True),
        Column("parallax_pmra_corr", "float32", "", "correlation of parallax and pmra", optional=True),
        Column("parallax_pmdec_corr", "float32", "", "correlation of parallax and pmdec", optional=True),
        Column("ref_epoch", "float64", "yr", "reference epoch of the position", optional=True),
        Column("phot_g_mean_mag", "float32", "mag", "G magnitude, as measured"),
        Column("phot_bp_mean_mag", "float32", "mag", "BP magnitude, as measured", optional=True),
        Column("phot_rp_mean_mag", "float32", "mag", "RP magnitude, as measured", optional=True),
        Column("bp_rp", "float32", "mag", "colour BP-RP, as measured"),
        Column("phot_bp_rp_excess_factor", "float32", "", "BP/RP flux excess", optional=True),
        Column("ruwe", "float32", "", "renormalised unit weight error", optional=True),
        Column("visibility_periods_used", "int32", "", "visibility periods of the astrometry", optional=True),
        Column("matched_transits", "int32", "", "field-of-view transits of the source", optional=True),
        Column("astrometric_params_solved", "int32", "", "3, 31 or 95: which parameters", optional=True),
        Column("nu_eff_used_in_astrometry", "float32", "1 / um", "effective wavenumber", optional=True),
        Column("pseudocolour", "float32", "1 / um", "astrometrically estimated wavenumber", optional=True),
        Column("ecl_lat", "float64", "deg", "ecliptic latitude", optional=True),
        Column("radial_velocity", "float32", "km / s", "radial velocity", optional=True),
        Column("radial_velocity_error", "float32", "km / s", "its standard error", optional=True),
        Column("popid", "int32", "", "population of a mock star", optional=True),
    ),
)

STARS = TableSchema(
    "stars",
    "the stars of one patch after the selection cuts, in the patch frame; scores refer to their row",
    (
        Column("source_id", "int64", "", "Gaia source identifier"),
        Column("ra", "float64", "deg", "right ascension (ICRS)"),
        Column("dec", "float64", "deg", "declination (ICRS)"),
        Column("pmra", "float32", "mas / yr", "proper motion in right ascension, times cos(dec)"),
        Column("pmdec", "float32", "mas / yr", "proper motion in declination"),
        Column("parallax", "float32", "mas", "parallax"),
        Column("phot_g_mean_mag", "float32", "mag", "G magnitude, as measured"),
        Column("bp_rp", "float32", "mag", "colour BP-RP, as measured"),
        Column("g_0", "float32", "mag", "G magnitude corrected for extinction", optional=True),
        Column("bp_rp_0", "float32", "mag", "colour BP-RP corrected for reddening", optional=True),
        Column("ebv", "float32", "mag", "reddening E(B-V) of the map, as tabulated", optional=True),
        Column("pmra_error", "float32", "mas / yr", "standard error of pmra", optional=True),
        Column("pmdec_error", "float32", "mas / yr", "standard error of pmdec", optional=True),
        Column("parallax_error", "float32", "mas", "standard error of parallax", optional=True),
        Column("pmra_pmdec_corr", "float32", "", "correlation of pmra and pmdec", optional=True),
        Column("phi", "float64", "deg", "longitude in the patch frame, -180 to 180"),
        Column("lambda", "float64", "deg", "latitude in the patch frame"),
        Column("pm_phi_coslambda", "float32", "mas / yr", "proper motion in phi, times cos(lambda)"),
        Column("pm_lambda", "float32", "mas / yr", "proper motion in lambda"),
        Column("fiducial", "bool", "", "passes the fiducial cuts, so it is ranked"),
    ),
)

SCORES = TableSchema(
    "scores",
    "log R of every fiducial star of the signal regions of one task, once a fit: slices overlap",
    (
        Column("row", "int32", "", "row of the star in the patch's stars table"),
        _REGION,
        _SLICE,
        Column("log_r", "float32", "", "natural log of R = p(data) / p(background), or what ranks alike"),
        Column("membership", "float32", "", "membership probability of the scorer", optional=True),
    ),
)

REGIONS = TableSchema(
    "regions",
    "one row a fit, of a signal region or of a slice of it: what was scored and how it went",
    (
        _PATCH,
        _COORDINATE,
        _REGION,
        _SLICE,
        Column("low", "float64", "mas / yr", "low edge of the region in the scan coordinate"),
        Column("high", "float64", "mas / yr", "high edge of the region in the scan coordinate"),
        Column("n_sr", "int64", "", "stars of the signal region"),
        Column("n_sb", "int64", "", "stars of the sideband"),
        Column("n_fiducial", "int64", "", "fiducial stars of the signal region, or of the slice"),
        Column(
            "statistic",
            "float64",
            "",
            "held-out log-likelihood ratio of data model and background, summed over these stars (nat)",
        ),
        Column("fraction", "float64", "", "fitted signal fraction w, where the scorer has one"),
        Column(
            "ll_sr", "float64", "", "mean held-out log-likelihood of these stars under the data model (nat)"
        ),
        Column("ll_sb", "float64", "", "the same under the background model (nat)"),
        Column("rounds_sr", "float64", "", "training rounds of the data models, mean over folds"),
        Column("rounds_sb", "float64", "", "training rounds of the background models, mean over folds"),
        Column(
            "restarts",
            "float64",
            "",
            "fits, over folds and restarts, that raised the likelihood of the stars left out",
        ),
    ),
)

ROIS = TableSchema(
    "rois",
    "every region of interest of a patch with its most significant line",
    (
        _PATCH,
        _COORDINATE,
        _REGION,
        _SLICE,
        Column("low", "float64", "mas / yr", "low edge of the region in the scan coordinate"),
        Column("high", "float64", "mas / yr", "high edge of the region in the scan coordinate"),
        Column("slice_low", "float64", "mas / yr", "low edge of the slice in the orthogonal coordinate"),
        Column("slice_high", "float64", "mas / yr", "high edge of the slice in the orthogonal coordinate"),
        Column("n_stars", "int32", "", "fiducial stars of the region of interest"),
        Column("n_top", "int32", "", "best stars that were searched for a line"),
        Column(
            "theta", "float64", "deg", "angle of the line's normal in the tangent plane, from +phi to +lambda"
        ),
        Column("r", "float64", "deg", "signed distance of the line from the patch centre, along the normal"),
        Column("n_line", "int32", "", "best stars on the line"),
        Column("expected", "float64", "", "best stars expected on the line from its surroundings"),
        Column(
            "log10_p_line",
            "float64",
            "",
            "log10 of the line's tail probability, clumps levelled, before look-elsewhere",
        ),
        Column("significance_line", "float64", "", "the same in Gaussian sigma"),
        Column(
            "statistic", "float64", "", "held-out log-likelihood ratio of the fit that ranked the stars (nat)"
        ),
        Column(
            "log10_p",
            "float64",
            "",
            "log10_p_line; with lines.held_out at least that of exp(-statistic) where a fit of this "
            "slice alone ranked the stars",
        ),
        Column(
            "significance", "float64", "", "the same in Gaussian sigma, -inf at probability one: what counts"
        ),
        Column("top_rows", "list<int32>", "", "rows of the best stars in the stars table, best first"),
        Column("on_line", "list<bool>", "", "which of top_rows lie on the line"),
    ),
)

_POLE = (
    Column("pole_ra", "float64", "deg", "right ascension of the pole of the great circle (ICRS)"),
    Column("pole_dec", "float64", "deg", "declination of the pole of the great circle (ICRS)"),
)

FRAGMENTS = TableSchema(
    "fragments",
    "lines of one patch on which independent trainings agree",
    (
        Column("fragment", "string", "", "patch name and running number, best first"),
        _PATCH,
        *_POLE,
        Column("ra", "float64", "deg", "middle of the line stars, on the great circle (ICRS)"),
        Column("dec", "float64", "deg", "middle of the line stars, on the great circle (ICRS)"),
        Column("significance", "float64", "", "significance of the line (Gaussian sigma)"),
        Column("n_rois", "int32", "", "regions of interest that agree"),
        Column("n_trainings", "int32", "", "independent trainings among them"),
        Column("n_stars", "int32", "", "different stars on the line"),
        Column("pmra", "float64", "mas / yr", "median proper motion of the line stars in right ascension"),
        Column("pmdec", "float64", "mas / yr", "median proper motion of the line stars in declination"),
        Column("roi_rows", "list<int32>", "", "rows of the regions of interest in the patch's rois table"),
        Column("star_rows", "list<int32>", "", "rows of the line stars in the patch's stars table"),
        Column("source_ids", "list<int64>", "", "source_id of the line stars, same order"),
    ),
)

STREAMS = TableSchema(
    "streams",
    "stream candidates, best first",
    (
        Column("stream_id", "string", "", "identifier from position and proper motion"),
        Column("significance", "float64", "", "Gaussian sigma before look-elsewhere, patches in quadrature"),
        Column("p_value", "float64", "", "chance of a false candidate this significant (after calibration)"),
        Column("n_members", "int32", "", "stars of membership above 0.5"),
        Column("n_expected", "float64", "", "sum of memberships"),
        Column("n_patches", "int32", "", "patches that the candidate spans"),
        Column("n_trainings", "int32", "", "independent trainings that saw it"),
        Column("ra", "float64", "deg", "middle of the candidate, on its track (ICRS)"),
        Column("dec", "float64", "deg", "middle of the candidate, on its track (ICRS)"),
        *_POLE,
        Column("length", "float64", "deg", "length of the track that holds its line stars"),
        Column("width", "float64", "deg", "Gaussian sigma of the members across the track"),
        Column("pmra", "float64", "mas / yr", "proper motion in right ascension at the middle of the track"),
        Column("pmdec", "float64", "mas / yr", "proper motion in declination at the middle of the track"),
        Column("fragments", "string", "", "fragments joined, separated by spaces"),
    ),
)

MEMBERS = TableSchema(
    "members",
    "every fiducial star that a track could hold, with its membership; a star once a candidate",
    (
        Column("stream_id", "string", "", "candidate"),
        Column("source_id", "int64", "", "Gaia source identifier"),
        Column("ra", "float64", "deg", "right ascension (ICRS)"),
        Column("dec", "float64", "deg", "declination (ICRS)"),
        Column("pmra", "float32", "mas / yr", "proper motion in right ascension, times cos(dec)"),
        Column("pmdec", "float32", "mas / yr", "proper motion in declination"),
        Column("phot_g_mean_mag", "float32", "mag", "G magnitude, as measured"),
        Column("bp_rp", "float32", "mag", "colour BP-RP, as measured"),
        Column("g_0", "float32", "mag", "G magnitude corrected for extinction", optional=True),
        Column("bp_rp_0", "float32", "mag", "colour BP-RP corrected for reddening", optional=True),
        Column("phi1", "float64", "deg", "position along the candidate's great circle"),
        Column("phi2", "float64", "deg", "distance from the candidate's great circle"),
        Column(
            "log_r", "float32", "", "largest log R over the regions that scored the star; null: never scored"
        ),
        Column("on_line", "bool", "", "was on the line of a region of interest of the candidate"),
        Column("membership", "float32", "", "probability to belong to the candidate, 0 to 1"),
    ),
)

TRACKS = TableSchema(
    "tracks",
    "tracks of the candidates, sampled along phi1",
    (
        Column("stream_id", "string", "", "candidate"),
        Column("phi1", "float64", "deg", "position along the candidate's great circle"),
        Column("phi2", "float64", "deg", "distance of the track from the great circle"),
        Column("ra", "float64", "deg", "right ascension of the track (ICRS)"),
        Column("dec", "float64", "deg", "declination of the track (ICRS)"),
        Column("pmra", "float64", "mas / yr", "proper motion of the track in right ascension"),
        Column("pmdec", "float64", "mas / yr", "proper motion of the track in declination"),
    ),
)

CALIBRATION = TableSchema(
    "calibration",
    "each candidate against a scan of a streamless sky",
    (
        Column("stream_id", "string", "", "candidate"),
        Column("significance", "float64", "", "its significance (Gaussian sigma before look-elsewhere)"),
        Column("n_data", "int64", "", "candidates of the scan at least this significant, itself included"),
        Column("n_null", "int64", "", "candidates of the null scan at least this significant"),
        Column(
            "expected", "float64", "", "false candidates this significant expected: n_null scaled by area"
        ),
        Column("expected_low", "float64", "", "lower limit of expected (central 95 %, exact Poisson)"),
        Column("expected_high", "float64", "", "upper limit of expected (central 95 %, exact Poisson)"),
        Column("expected_upper", "float64", "", "one-sided upper limit of expected (95 %, exact Poisson)"),
        Column(
            "p_value",
            "float64",
            "",
            "chance that a streamless sky of this area gives a candidate this significant",
        ),
        Column(
            "q_value",
            "float64",
            "",
            "smallest expected share of false ones in a list that holds the candidate",
        ),
    ),
)

TABLES = (
    PATCHES,
    MASKS,
    CELLS,
    STARS,
    SCORES,
    REGIONS,
    ROIS,
    FRAGMENTS,
    STREAMS,
    MEMBERS,
    TRACKS,
    CALIBRATION,
)
