"""Against closed forms and NumPy: symlog, two-hot coding, Gaussians, groups of categoricals, lambda-returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from worldshift.maths import (
    annealed,
    categorical_entropy,
    categorical_kl,
    gaussian_log_prob,
    lambda_returns,
    log_unimix,
    sample_one_hot,
    soft_cross_entropy,
    straight_through,
    symexp,
    symlog,
    two_hot,
    two_hot_inverse,
)

BINS, LOW, HIGH = 101, -10.0, 10.0
WIDTH = (HIGH - LOW) / (BINS - 1)

scalars = st.floats(-2e4, 2e4, width=32)  # symlog(2e4) = 9.9: inside the range of the bins
anything = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize(
    ("done", "share", "factor"), [(0, 0.2, 1), (0.8, 0.2, 1), (0.9, 0.2, 0.5), (1, 0.2, 0.1), (1, 0, 1)]
)
def test_learning_rates_fall_to_a_tenth_over_the_last_share(done, share, factor):
    np.testing.assert_allclose(annealed(done, share), factor, rtol=1e-5)


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


# Groups of categoricals


def logits(shape=(5, 3, 4), seed=0):
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_unimix(share):
    expected = np.log((1 - share) * softmax(logits()) + share / 4)
    np.testing.assert_allclose(log_unimix(jnp.asarray(logits()), share), expected, rtol=1e-5, atol=1e-6)


def test_categorical_entropy():
    p = jnp.asarray([[[0.5, 0.5, 0.0, 0.0], [0.25] * 4]])
    np.testing.assert_allclose(categorical_entropy(jnp.log(jnp.clip(p, 1e-12))), [np.log(2) + np.log(4)], rtol=1e-5)


def test_categorical_kl():
    """Against scipy's, and with its gradient in the second argument: q - p."""
    p, q = softmax(logits()), softmax(logits(seed=1))
    expected = stats.entropy(p, q, axis=-1).sum(-1)
    np.testing.assert_allclose(categorical_kl(jnp.log(p), jnp.log(q)), expected, rtol=1e-4)
    np.testing.assert_allclose(categorical_kl(jnp.log(p), jnp.log(p)), 0, atol=1e-6)
    free = jnp.asarray(logits(seed=1))
    gradient = jax.grad(lambda x: jnp.sum(categorical_kl(jnp.log(p), jax.nn.log_softmax(x))))(free)
    np.testing.assert_allclose(gradient, q - p, atol=1e-5)


def test_samples_have_their_probabilities():
    p, count = np.array([[0.7, 0.2, 0.1, 0.0], [0.0, 0.0, 0.5, 0.5]], np.float32), 20_000
    drawn = np.asarray(sample_one_hot(jnp.broadcast_to(p, (count, 2, 4)), jax.random.key(0)))
    assert set(np.unique(drawn)) == {0.0, 1.0} and (drawn.sum(-1) == 1).all()
    np.testing.assert_allclose(drawn.mean(0), p, atol=0.012)


def test_a_categorical_whose_numbers_do_not_quite_sum_to_one_has_a_class():
    drawn = sample_one_hot(jnp.full((1000, 4), 0.2499), jax.random.key(0))
    assert (drawn.sum(-1) == 1).all()


def test_straight_through_gradient_is_that_of_the_probabilities():
    p, weight = jnp.asarray(softmax(logits())), jnp.asarray(logits(seed=2))
    sample, gradient = jax.value_and_grad(lambda p: jnp.sum(weight * straight_through(p, jax.random.key(0))))(p)
    np.testing.assert_allclose(gradient, weight, rtol=1e-6)
    np.testing.assert_allclose(sample, jnp.sum(weight * sample_one_hot(p, jax.random.key(0))), rtol=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_lambda_returns(lam):
    """Against the mixture of all n-step returns, one by one."""
    rng, steps = np.random.default_rng(0), 6
    reward, discount, value = (
        rng.normal(size=(steps, 2)),
        rng.uniform(0.5, 1, (steps, 2)),
        rng.normal(size=(steps + 1, 2)),
    )

    def n_step(t, n):
        total, factor = 0.0, 1.0
        for k in range(t, t + n):
            total, factor = total + factor * reward[k], factor * discount[k]
        return total + factor * value[t + n]

    expected = np.zeros_like(reward)
    for t in range(steps):
        left = steps - t
        for n in range(1, left):
            expected[t] += (1 - lam) * lam ** (n - 1) * n_step(t, n)
        expected[t] += lam ** (left - 1) * n_step(t, left)
    found = lambda_returns(*(jnp.asarray(x, jnp.float32) for x in (reward, discount, value)), lam)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
