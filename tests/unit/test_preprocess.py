import numpy as np
import pytest

from viamachinae.density import Preprocessor
from viamachinae.errors import DataError

RADIUS = 15.0


def cap(n, rng, radius=RADIUS):
    """Stars uniform over the cap, as (phi, lambda) in deg."""
    versine = rng.uniform(0, 1 - np.cos(np.radians(radius)), n)
    separation, angle = np.arccos(1 - versine), rng.uniform(0, 2 * np.pi, n)
    lam = np.arcsin(np.sin(separation) * np.sin(angle))
    phi = np.arctan2(np.sin(separation) * np.cos(angle), np.cos(separation))
    return np.degrees(np.column_stack([phi, lam]))


@pytest.mark.parametrize(
    ("kinds", "draw"),
    [
        (("disc", "disc"), cap),
        (("asinh", "linear"), lambda n, rng: rng.normal(0, 8, (n, 2))),
        (
            ("magnitude", "logit"),
            lambda n, rng: np.column_stack([20 - rng.exponential(2, n), rng.beta(2, 5, n)]),
        ),
    ],
)
def test_log_jacobian_is_that_of_finite_differences(kinds, draw):
    rng = np.random.default_rng(3)
    x = draw(500, rng)
    transform = Preprocessor.fit(x, kinds, RADIUS)
    centre = np.median(x, axis=0) + 0.3 * (x[:100] - np.median(x, axis=0))
    _, log_jacobian = transform.forward(centre)
    step = 1e-6
    columns = [
        (transform.forward(centre + step * e)[0] - transform.forward(centre - step * e)[0]) / (2 * step)
        for e in np.eye(2)
    ]
    determinant = np.linalg.det(np.stack(columns, axis=-1))
    np.testing.assert_allclose(log_jacobian, np.log(np.abs(determinant)), atol=1e-5)


def test_uniform_sky_becomes_a_standard_normal_with_its_constant_density():
    x = cap(40_000, np.random.default_rng(1))
    transform = Preprocessor.fit(x, ("disc", "disc"), RADIUS)
    z, log_jacobian = transform.forward(x)
    for column in z.T:
        assert abs(column.mean()) < 1e-12
        assert abs((column**4).mean() - 3) < 0.15  # kurtosis of a normal
    raw = z * transform.scale + transform.mean
    log_p = (-(raw**2).sum(1) / 2 - np.log(2 * np.pi)) + log_jacobian + np.log(transform.scale).sum()
    area = 2 * np.pi * (1 - np.cos(np.radians(RADIUS))) * np.degrees(1) ** 2
    np.testing.assert_allclose(log_p - np.log(np.cos(np.radians(x[:, 1]))), -np.log(area), atol=1e-4)


def test_every_star_inside_the_patch_stays_finite_even_where_hypot_exceeds_the_radius():
    angle = np.linspace(0, 2 * np.pi, 721)
    edge = np.radians(RADIUS) * (1 - 1e-12)
    lam = np.arcsin(np.sin(edge) * np.sin(angle))
    phi = np.arctan2(np.sin(edge) * np.cos(angle), np.cos(edge))
    x = np.degrees(np.column_stack([phi, lam]))
    assert (np.hypot(*x.T) > RADIUS).any()
    z, log_jacobian = Preprocessor.fit(cap(100, np.random.default_rng(0)), ("disc", "disc"), RADIUS).forward(
        x
    )
    assert np.isfinite(z).all()
    assert np.isfinite(log_jacobian).all()


def test_transform_of_the_centre_and_of_a_star_at_the_magnitude_limit_is_finite():
    x = np.column_stack([cap(50, np.random.default_rng(0)), np.linspace(12, 20, 50)])
    transform = Preprocessor.fit(x, ("disc", "disc", "magnitude"), RADIUS)
    z, log_jacobian = transform.forward([[0.0, 0.0, 20.0], [0.0, 0.0, 20.5]])
    assert np.isfinite(z).all()
    assert np.isfinite(log_jacobian).all()


def test_state_rebuilds_the_same_transform():
    x = np.random.default_rng(2).normal(size=(100, 3))
    transform = Preprocessor.fit(x, ("asinh", "logit", "linear"))
    again = Preprocessor.from_state(transform.state())
    for a, b in zip(transform.forward(x), again.forward(x), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([[1.0, 2.0], [np.nan, 3.0]], "1 of 2 stars"),
        ([[1.0, 2.0], [1.0, 3.0]], "does not vary"),
        ([[1.0], [2.0]], "shape"),
    ],
)
def test_unusable_features_are_refused(x, words):
    with pytest.raises(DataError, match=words):
        Preprocessor.fit(x, ("linear", "linear"))
