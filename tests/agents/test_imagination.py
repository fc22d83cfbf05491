"""The actor-critic in dreams: on a known problem it finds what pays, by the published losses."""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.agents import imagination
from worldshift.agents.imagination import ActorCriticConfig, Dream
from worldshift.models.draw import Draw, Latent

CONFIG = ActorCriticConfig(horizon=5, actor_lr=3e-3, critic_lr=3e-3)
STARTS = 64


@pytest.fixture(scope="module")
def model():
    return Draw(3, 1, key=jax.random.key(0))


class Stay(NamedTuple):
    """A world in which nothing ever changes."""

    def advance(self, latent, action, key):
        return latent


@pytest.fixture(scope="module")
def start(model):
    """Two latents: in the first, positive actions are paid, in the second, negative ones."""
    classes = jnp.zeros((STARTS, 32), int).at[STARTS // 2 :].set(1)
    z = model.flat(jax.nn.one_hot(classes, 4))
    return Latent(z, z)


def paid(dream: Dream):
    sign = jnp.where(dream.latent.z[:-1, :, 0] > 0, 1.0, -1.0)
    return sign * jnp.clip(dream.action[..., 0], -1, 1)


def always(z):
    return jnp.ones(z.shape[:-1])


@pytest.fixture(scope="module")
def trained(model, start):
    @eqx.filter_jit
    def many(state, keys):
        def body(arrays, key):
            state, logs = imagination.improve(
                eqx.combine(arrays, static), Stay(), start, paid, always, CONFIG, "float32", key
            )
            return eqx.filter(state, eqx.is_array), logs

        arrays, static = eqx.partition(state, eqx.is_array)
        arrays, logs = jax.lax.scan(body, arrays, keys)
        return eqx.combine(arrays, static), logs

    state = imagination.init(model, CONFIG, key=jax.random.key(1))
    return many(state, jax.random.split(jax.random.key(2), 400))


def test_it_does_in_each_state_what_is_paid_there(trained, start):
    mean, _ = trained[0].nets.policy(start.z)
    assert float(mean[: STARTS // 2].min()) > 0.6 and float(mean[STARTS // 2 :].max()) < -0.6


def test_a_rate_is_a_factor_on_both_steps(model, start):
    state = imagination.init(model, CONFIG, key=jax.random.key(1))

    def moved(rate):
        after, _ = imagination.improve(
            state, Stay(), start, paid, always, CONFIG, "float32", jax.random.key(2), jnp.float32(rate)
        )
        nets, before = eqx.filter(after.nets, eqx.is_array), eqx.filter(state.nets, eqx.is_array)
        return jax.tree.map(lambda new, old: np.asarray(new - old), nets, before)

    whole, half, none = moved(1.0), moved(0.5), moved(0.0)
    assert not any(leaf.any() for leaf in jax.tree.leaves(none))
    for net in ("actor", "critic"):
        pairs = list(zip(*(jax.tree.leaves(getattr(each, net)) for each in (whole, half)), strict=True))
        assert max(np.abs(one).max() for one, _ in pairs) > 1e-4
        assert all(np.allclose(two, 0.5 * one, atol=1e-7) for one, two in pairs)


def test_the_critic_approaches_the_return(trained, start):
    """Paid almost 1 for ever at a discount of 0.99: far below 100 after so few updates, and far above a dream's 5."""
    state, logs = trained
    value = float(state.nets.value(start.z).mean())
    assert 8 < value <= 100 and float(logs["return"][-1]) > float(logs["return"][0])


def test_the_spread_follows_the_percentiles(trained):
    low, high = np.asarray(trained[0].spread)
    assert low < high


def test_the_slow_critic_lags_behind(trained):
    state = trained[0]
    fast, slow = state.nets.critic.last.weight, state.slow.last.weight
    assert 0 < float(jnp.abs(slow).mean()) < float(jnp.abs(fast).mean())


def test_a_dream_is_what_the_dynamics_makes_of_the_actions(model, start):
    nets = imagination.ActorCritic(model, key=jax.random.key(1))
    dream = imagination.imagine(model, nets, start, 4, jax.random.key(3))
    assert dream.action.shape == (4, STARTS, 1) and dream.latent.z.shape == (5, STARTS, model.latent_dim)
    np.testing.assert_array_equal(dream.latent.z[0], start.z)
    before = jax.tree.map(lambda x: x[2], dream.latent)
    expected = jax.nn.softmax(model.grouped(model.predict(before, dream.action[2])))
    np.testing.assert_allclose(model.grouped(dream.latent.belief[3]), expected, rtol=1e-4, atol=1e-6)


def test_a_policy_has_the_published_range(model):
    nets = imagination.ActorCritic(model, key=jax.random.key(1))
    for bias in (-30.0, 30.0):
        wild = eqx.tree_at(lambda n: n.actor.last.bias, nets, jnp.full(2, bias))
        mean, std = wild.policy(jnp.zeros((1, model.latent_dim)))
        np.testing.assert_allclose([mean[0, 0], std[0, 0]], [np.sign(bias), 0.1 if bias < 0 else 1.0], atol=1e-3)
    mean, std = nets.policy(jnp.zeros((1, model.latent_dim)))
    np.testing.assert_allclose(std, 0.9 / (1 + np.exp(-2)) + 0.1, rtol=1e-5)


def test_a_reward_counts_less_the_later_it_comes(model, start):
    """Every step of a dream pays 1, and a new critic expects nothing of what comes after it."""
    for discount in (0.5, 0.9):
        config = replace(CONFIG, discount=discount, lam=1.0)
        state = imagination.init(model, config, key=jax.random.key(1))
        ones, on = (lambda dream: jnp.ones(dream.action.shape[:2])), (lambda z: jnp.ones(z.shape[:-1]))
        _, found = imagination.improve(state, model, start, ones, on, config, "float32", jax.random.key(2))
        steps = np.arange(1, config.horizon + 1)
        assert float(found["return"]) == pytest.approx(np.mean((1 - discount**steps) / (1 - discount)), rel=1e-4)


def test_only_an_adaptation_leaves_the_discount_open(model):
    with pytest.raises(ValueError, match="discount"):
        imagination.init(model, replace(CONFIG, discount=None), key=jax.random.key(1))


def test_what_comes_after_an_end_does_not_count(model, start):
    """With an end after every step the return is the reward."""
    state = imagination.init(model, CONFIG, key=jax.random.key(1))
    _, logs = imagination.improve(
        state,
        Stay(),
        start,
        lambda d: jnp.ones(d.action.shape[:-1]),
        lambda z: jnp.zeros(z.shape[:-1]),
        CONFIG,
        "float32",
        jax.random.key(0),
    )
    np.testing.assert_allclose(logs["return"], 1.0, rtol=1e-6)
