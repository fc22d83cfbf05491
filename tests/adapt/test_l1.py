"""L1 on a linear plant that its model knows: what is added at the motors is found and taken off, as far as filtered."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.l1 import L1Adaptive, L1Config

EYE = np.eye(3)
OFFSET = np.array([0.3, -0.2, 0.1])


def test_one_step_cancels_a_constant_disturbance(linear_agent, exact, live):
    """Without noise, ridge or filter the piecewise-constant law is deadbeat."""
    adapter = L1Adaptive(linear_agent(), exact(), L1Config(bandwidth=1.0, ridge=1e-4, outlier=1e9))
    life = live(adapter, EYE, OFFSET, steps=5, noise=0.0)
    np.testing.assert_allclose(life.states.filtered[0], OFFSET, atol=1e-3)
    np.testing.assert_allclose(life.plant[1:], life.base[1:], atol=1e-3)


@pytest.mark.parametrize("bandwidth", [0.1, 0.3])
def test_the_filter_has_its_time_constant(linear_agent, exact, live, bandwidth):
    adapter = L1Adaptive(linear_agent(), exact(), L1Config(bandwidth=bandwidth, ridge=1e-4, outlier=1e9))
    life = live(adapter, EYE, OFFSET, steps=12, noise=0.0)
    left = 1 - np.asarray(life.states.filtered)[:, 0] / OFFSET[0]
    np.testing.assert_allclose(left, (1 - bandwidth) ** np.arange(1, 13), atol=1e-3)


def test_with_noise_it_settles_at_the_disturbance_and_stays(linear_agent, exact, live):
    life = live(L1Adaptive(linear_agent(), exact()), EYE, OFFSET, steps=300)
    error = life.actuation_error(np.broadcast_to(OFFSET, life.base.shape))
    assert error[:3].mean() > 0.6 and error[100:].mean() < 0.25
    healthy = live(L1Adaptive(linear_agent(), exact()), EYE, steps=300)
    assert np.abs(healthy.action - healthy.base)[50:].mean() < 0.05


def test_with_a_model_of_the_wrong_sign_it_diverges(linear_agent, exact, live):
    truth = exact()
    wrong = truth._replace(model=eqx.tree_at(lambda m: m.push, truth.model, -truth.model.push))
    astray = live(L1Adaptive(linear_agent(), wrong), EYE, OFFSET, steps=100)
    assert np.abs(astray.plant - astray.base)[50:].mean() > 2 * np.abs(OFFSET).mean()


def test_the_estimate_is_bounded(linear_agent, exact, live):
    life = live(L1Adaptive(linear_agent(), exact(), L1Config(disturbance=0.1)), EYE, OFFSET, steps=60)
    assert jnp.abs(life.states.disturbance).max() <= 0.1 + 1e-6
