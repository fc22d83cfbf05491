"""Delays on a linear plant: the lag is found, the base acts ahead, and where nothing is late nothing changes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from worldshift.adapt.contract import OnlineAdapter, Transition
from worldshift.adapt.delay import DelayCompensated, DelayConfig
from worldshift.adapt.fast_reflex import FastReflex
from worldshift.adapt.layered import LayeredReflex
from worldshift.nn import MLP

EYE, GAINS = np.eye(3), np.diag([0.6, 1.3, 0.8])
NOISE = 0.02


@pytest.fixture(scope="module")
def fast(linear_agent, exact) -> FastReflex:
    return FastReflex(linear_agent(), exact(threshold=4.0))


STEPS, BEGIN, EPISODE = 300, 30, 100


@eqx.filter_jit
def life(adapter: Any, lag: Array, matrix: Array, sensors: Array, end: Array):
    """Commands arrive `lag` steps late from step `BEGIN` to `end`; sensors are noisy. How far reality is from what the
    policy wants where it is, the lag that is believed, and the last state.
    """
    fast, none = getattr(adapter, "inner", adapter), jnp.zeros(6)

    def step(carry, t):
        state, queue, obs, seen = carry
        command, state = adapter.act(state, seen, jax.random.key(t))
        queue = jnp.roll(queue, 1, 0).at[0].set(command.action)
        plant = matrix @ queue[jnp.where((t >= BEGIN) & (t < end), lag, 0)]
        noise, blur = jax.random.normal(jax.random.fold_in(jax.random.key(1), t), (2, 6))
        after = obs + plant @ fast.calibration.model.push + NOISE * noise
        zero = jnp.zeros(())
        state, _ = adapter.observe(state, Transition(seen, command, after + sensors * blur, zero < 1, zero, zero > 1))
        wrong = jnp.linalg.norm(plant - fast.agent.model.mean_action(obs))
        over = t % EPISODE == EPISODE - 1
        ended = adapter.finish(state), jnp.zeros_like(queue), none, none
        going = state, queue, after, after + sensors * blur
        carry = jax.tree.map(lambda a, b: jnp.where(over, a, b), ended, going)
        return carry, (wrong, getattr(state, "lag", 0))

    start = adapter.init(jax.random.key(0)), jnp.zeros((10, 3)), none, none
    (state, *_), (wrong, believed) = jax.lax.scan(step, start, jnp.arange(STEPS))
    return wrong, believed, state


@eqx.filter_jit
def observe(adapter: Any, state: Any, transition: Transition):
    return adapter.observe(state, transition)


@pytest.fixture(scope="module")
def delayed():
    """Lives under a delay."""
    return lambda adapter, lag, matrix=EYE, sensors=0.0, end=STEPS: life(
        adapter, jnp.asarray(lag), jnp.asarray(matrix, jnp.float32), jnp.asarray(sensors), jnp.asarray(end)
    )


@pytest.mark.parametrize("wrap", [lambda fast: fast, LayeredReflex], ids=["fast", "layered"])
def test_it_meets_the_contract(fast, wrap):
    assert isinstance(DelayCompensated(wrap(fast)), OnlineAdapter)


@pytest.mark.parametrize("matrix", [EYE, GAINS], ids=["healthy", "gains"])
def test_where_nothing_is_late_it_is_the_reflex_inside(fast, live, matrix):
    inner = LayeredReflex(fast)
    with_it = live(DelayCompensated(inner), matrix, steps=300)
    without = live(inner, matrix, steps=300, along=with_it)
    assert with_it.states.lag.max() == 0
    np.testing.assert_allclose(with_it.action, without.action, atol=1e-4)


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_the_lag_is_found_and_undone(fast, delayed, lag):
    """What arrives is what the policy wants where it arrives, as far as noise lets the future be known."""
    frozen, _, _ = delayed(fast, lag)
    wrong, believed, _ = delayed(DelayCompensated(fast), lag)
    assert (believed[:30] == 0).all() and (believed[100:] == lag).all()
    settled = slice(220, 290)
    assert wrong[settled].mean() < 0.5 * frozen[settled].mean(), (wrong[settled].mean(), frozen[settled].mean())


def test_when_the_delay_ends_it_is_forgotten(fast, delayed):
    _, believed, _ = delayed(DelayCompensated(fast), 3, end=170)
    assert (believed[100:170] == 3).all() and (believed[190:] == 0).all()


def test_gains_are_found_behind_a_delay(fast, delayed):
    _, believed, state = delayed(DelayCompensated(fast), 2, GAINS)
    assert (believed[150:] == 2).all()
    np.testing.assert_allclose(1 + state.inner.theta, np.diagonal(GAINS), atol=0.12)


def test_noise_of_sensors_is_not_taken_for_a_delay(fast, delayed):
    _, believed, _ = delayed(DelayCompensated(fast), 0, sensors=0.3)
    assert (believed == 0).all()


@pytest.mark.parametrize(
    ("healthy", "before", "after"),
    [((0.6, 0.4), 0, 0), ((0.9, 0.1), 0, 1), ((0.5, 0.4), 1, 1), ((0.4, 0.5), 1, 0)],
    ids=["no better than none", "late", "still late", "no longer"],
)
def test_a_lag_must_explain_more_than_none_with_the_actuators_that_suit_it(fast, healthy, before, after):
    """As where motors stick by chance: under the estimated ones no lag explains anything, and that is no delay."""
    adapter, zero = DelayCompensated(fast), jnp.zeros(())
    state = adapter.init(jax.random.key(0))
    none, obs = jax.tree.map(lambda ring: ring[0], state.commands), jnp.linspace(-1, 1, 6)
    cost = jnp.full_like(state.cost, 1.5).at[1, :2].set(jnp.asarray(healthy))
    state = state._replace(cost=cost, lag=jnp.asarray(before, jnp.int32))
    state, _ = observe(adapter, state, Transition(obs, none, obs, zero < 1, zero, zero > 1))
    assert state.lag == after


def test_no_longer_lag_is_believed_than_is_thought_of(fast, delayed):
    _, believed, _ = delayed(DelayCompensated(fast, DelayConfig(longest=2)), 4)
    assert believed.max() <= 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("where", ["obs", "next_obs"])
def test_anything_non_finite_leaves_the_lag_alone(fast, delayed, bad, where):
    adapter = DelayCompensated(fast)
    _, _, state = delayed(adapter, 2)
    obs, zero = jnp.linspace(-1, 1, 6), jnp.zeros(())
    command, state = adapter.act(state, obs, jax.random.key(0))
    good = Transition(obs, command, obs + 0.1, zero < 1, zero, zero > 1)
    assert not eqx.tree_equal(observe(adapter, state, good)[0].cost, state.cost)
    new, telemetry = observe(adapter, state, good._replace(**{where: getattr(good, where).at[1].set(bad)}))
    assert new.lag == state.lag == 2
    if not np.isfinite(bad):
        assert eqx.tree_equal(new.cost, state.cost)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new) + jax.tree.leaves(telemetry))
    across, _ = observe(adapter, state, good._replace(valid=zero > 1))
    assert eqx.tree_equal(across, state), "across a reset nothing is learned"
    tempted = state._replace(cost=state.cost.at[:, 0].set(-9.0))
    across, _ = observe(adapter, tempted, good._replace(valid=zero > 1))
    assert eqx.tree_equal(across, tempted), "nor is anything forgotten"
    command, _ = adapter.act(state, obs.at[1].set(bad), jax.random.key(0))
    assert np.isfinite(command.action).all() and np.abs(command.action).max() <= 2.0


def test_a_model_of_a_latent_is_refused(fast):
    encoder = MLP(6, [8], 6, key=jax.random.key(0))
    blind = eqx.tree_at(lambda f: f.calibration.model.encoder, fast, encoder, is_leaf=lambda x: x is None)
    with pytest.raises(ValueError, match="of a latent"):
        DelayCompensated(blind)
