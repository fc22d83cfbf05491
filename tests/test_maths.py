"""Scalar transforms against closed forms: symlog and its inverse, two-hot coding, Gaussian log-density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from worldshift.maths import gaussian_log_prob, soft_cross_entropy, symexp, symlog, two_hot, two_hot_inverse

BINS, LOW, HIGH = 101, -10.0, 10.0
WIDTH = (HIGH - LOW) / (BINS - 1)

scalars = st.floats(-2e4, 2e4, width=32)  # symlog(2e4) = 9.9: inside the range of the bins
anything = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize(("x", "expected"), [(0.0, 0.0), (np.e - 1, 1.0), (1 - np.e, -1.0), (np.e**9 - 1, 9.0)])
def test_symlog_closed_form(x, expected):
    assert float(symlog(jnp.float32(x))) == pytest.approx(expected, rel=1e-6)
    assert float(symexp(jnp.float32(expected))) == pytest.approx(x, rel=1e-5)


@given(scalars)
def test_symexp_inverts_symlog(x):
    # Near zero the error is absolute: float32 resolves 1 + |x| to about 1e-7.
    assert float(symexp(symlog(jnp.float32(x)))) == pytest.approx(x, rel=2e-5, abs=1e-6)


@given(anything, anything)
def test_symlog_is_odd_and_keeps_order(x, y):
    low, high = sorted((x, y))
    assert float(symlog(jnp.float32(low))) <= float(symlog(jnp.float32(high)))
    assert float(symlog(jnp.float32(-x))) == -float(symlog(jnp.float32(x)))


def test_two_hot_known_answers():
    code = np.asarray(two_hot(jnp.array([0.0, np.expm1(0.2), np.expm1(0.25), -np.expm1(1.05)]), LOW, HIGH, BINS))
    expected = np.zeros((4, BINS))
    expected[0, 50] = 1.0  # the middle bin is zero
    expected[1, 51] = 1.0  # one bin is 0.2 wide
    expected[2, [51, 52]] = 0.75, 0.25
    expected[3, [44, 45]] = 0.25, 0.75
    np.testing.assert_allclose(code, expected, atol=1e-4)


def test_two_hot_clips_to_the_outer_bins():
    code = np.asarray(two_hot(jnp.array([1e9, -1e9, 3e38]), LOW, HIGH, BINS))
    assert [row.argmax() for row in code] == [100, 0, 100]
    np.testing.assert_array_equal(code.max(-1), 1.0)


@given(scalars)
def test_two_hot_is_a_distribution_over_neighbours_with_the_right_mean(x):
    code = np.asarray(two_hot(jnp.float32(x), LOW, HIGH, BINS), np.float64)
    hit = np.flatnonzero(code)
    assert len(hit) <= 2 and hit[-1] - hit[0] <= 1
    assert code.min() >= 0 and code.sum() == pytest.approx(1.0, abs=1e-4)
    assert code @ np.linspace(LOW, HIGH, BINS) == pytest.approx(np.sign(x) * np.log1p(abs(x)), abs=1e-4)


@given(scalars)
def test_the_read_out_of_a_code_is_its_scalar(x):
    logits = jnp.log(two_hot(jnp.float32(x), LOW, HIGH, BINS))
    assert float(two_hot_inverse(logits, LOW, HIGH)) == pytest.approx(x, rel=2e-4, abs=2e-5)


def test_untrained_logits_read_as_zero():
    assert float(two_hot_inverse(jnp.zeros(BINS), LOW, HIGH)) == pytest.approx(0.0, abs=1e-5)


def test_soft_cross_entropy_against_a_hand_computation():
    target = np.expm1(0.25)  # 0.75 of bin 51, 0.25 of bin 52
    logits = np.random.default_rng(0).normal(size=(3, BINS)).astype(np.float32)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(0.75 * log_p[:, 51] + 0.25 * log_p[:, 52])
    loss = soft_cross_entropy(jnp.asarray(logits), jnp.full(3, target, jnp.float32), LOW, HIGH)
    np.testing.assert_allclose(np.asarray(loss), expected, rtol=1e-4)
    uniform = soft_cross_entropy(jnp.zeros(BINS), jnp.float32(123.0), LOW, HIGH)
    assert float(uniform) == pytest.approx(np.log(BINS), rel=1e-5)


def test_soft_cross_entropy_is_least_at_the_target():
    """Its gradient is softmax(logits) - target, so it vanishes exactly where the prediction is the two-hot code."""
    logits, target = jnp.linspace(-1.0, 1.0, BINS), jnp.float32(4.2)
    gradient = jax.grad(lambda logits: soft_cross_entropy(logits, target, LOW, HIGH))(logits)
    expected = jax.nn.softmax(logits) - two_hot(target, LOW, HIGH, BINS)
    np.testing.assert_allclose(np.asarray(gradient), np.asarray(expected), atol=1e-6)


@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(-8, 2)), min_size=1, max_size=4))
def test_gaussian_log_prob_is_that_of_the_sample(pairs):
    noise, log_std = np.array(pairs).T
    mean, std = 0.3, np.exp(log_std)
    expected = stats.norm.logpdf(mean + std * noise, mean, std).sum()
    got = gaussian_log_prob(jnp.asarray(noise, jnp.float32), jnp.asarray(log_std, jnp.float32))
    assert float(got) == pytest.approx(expected, rel=1e-4, abs=1e-4)
