"""The recurrent world model: what it may look at, that it remembers, and that memory pays."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from worldshift.agents.draw import DrawConfig, model_loss
from worldshift.agents.draw_agent import Memory, look
from worldshift.data.replay import Batch
from worldshift.models import draw
from worldshift.models.draw import SIZES, Draw
from worldshift.models.rssm import Rssm

OBS, ACTIONS, T, B = 3, 2, 6, 4


@pytest.fixture(scope="module")
def model():
    return Rssm(OBS, ACTIONS, key=jax.random.key(0))


def window(seed=0):
    k_obs, k_action = jax.random.split(jax.random.key(seed))
    return jax.random.normal(k_obs, (T, B, OBS)), jax.random.uniform(k_action, (T - 1, B, ACTIONS), minval=-1)


def test_shapes(model):
    obs, action = window()
    seen = model.see(obs, action, jax.random.key(1))
    s = SIZES["tiny"]
    assert seen.latent.z.shape == (T, B, model.latent_dim) and model.latent_dim == s.groups * s.classes + s.units
    assert seen.latent.belief.shape == (T, B, model.belief_dim) and seen.log_prior.shape == (T, B, s.groups, s.classes)
    assert model.decode(seen.latent.z).shape == (T, B, OBS) and model.reward(seen.latent.z).shape == (T, B)
    after = model.advance(jax.tree.map(lambda x: x[-1], seen.latent), action[-1], jax.random.key(2))
    np.testing.assert_array_equal(after.z[:, model.classes_dim :], after.belief)
    assert model.predict(after, action[-1]).shape == (B, model.classes_dim)


def test_priors_do_not_look_and_posteriors_remember(model):
    obs, action = window()
    key = jax.random.key(1)
    seen, other = model.see(obs, action, key), model.see(obs.at[3].add(1.0), action, key)
    np.testing.assert_array_equal(seen.log_prior[:4], other.log_prior[:4])
    assert not np.array_equal(seen.log_posterior[3], other.log_posterior[3])
    elsewhere = model.see(obs.at[0].add(5.0), action, key)
    assert not np.array_equal(seen.log_posterior[3], elsewhere.log_posterior[3]), "the first moment is remembered"
    plain = Draw(OBS, ACTIONS, key=jax.random.key(0))
    one, two = (plain.see(x, action, key).log_posterior[3] for x in (obs, obs.at[0].add(5.0)))
    np.testing.assert_array_equal(one, two)


def test_step_by_step_is_the_same_as_a_window(model, monkeypatch):
    """With latents that are certain, nothing is random: filtering as an agent does gives what training sees."""
    monkeypatch.setattr(draw, "UNIMIX", 0.0)
    sharp = eqx.tree_at(lambda m: m.posterior.last.weight, model, 1e6 * model.posterior.last.weight)
    obs, action = window(3)
    seen = sharp.see(obs, action, jax.random.key(1))
    latent = sharp.first(obs[0], jax.random.key(2))
    for t in range(1, T):
        latent = sharp.after(latent, action[t - 1], obs[t], jax.random.key(2 + t))
    np.testing.assert_allclose(latent.z, seen.latent.z[-1], atol=1e-4)


def test_an_episode_that_begins_remembers_nothing(model):
    obs, action = window(5)
    before = look(model, None, obs[0], jax.random.key(0))
    begun = np.array([True, False, False, True])[:, None]
    now = look(model, Memory(before, action[0]), obs[1], jax.random.key(1), begun)
    first, after = model.first(obs[1], jax.random.key(1)), model.after(before, action[0], obs[1], jax.random.key(1))
    np.testing.assert_array_equal(now.belief[::3], first.belief[::3])
    np.testing.assert_array_equal(now.z[1:3], after.z[1:3])
    assert not np.allclose(now.belief[1:3], first.belief[1:3])


def test_memory_pays_where_a_frame_is_not_enough():
    """A point that moves at a speed which no observation shows: only who remembers can foresee the next."""
    rng = np.random.default_rng(0)

    def batch():
        speed = rng.choice([-0.6, 0.6], (1, 16, 1))
        place = rng.uniform(-1, 1, (1, 16, 1)) + speed * np.arange(8)[:, None, None]
        nothing = np.zeros((7, 16))
        return Batch(jnp.asarray(place, jnp.float32), jnp.zeros((7, 16, 1)), jnp.asarray(nothing), jnp.asarray(nothing))

    config, errors = DrawConfig(precision="float32", free_nats=0.0), {}
    for kind in (Draw, Rssm):
        model = kind(1, 1, key=jax.random.key(1))
        arrays, static = eqx.partition(model, eqx.is_array)
        optimiser = optax.adam(2e-3)

        @jax.jit
        def learn(arrays, state, batch, key, static=static, optimiser=optimiser):
            loss = lambda a: model_loss(eqx.combine(a, static), batch, config, key)  # noqa: E731
            (_, (_, logs)), grad = jax.value_and_grad(loss, has_aux=True)(arrays)
            step, state = optimiser.update(grad, state)
            return optax.apply_updates(arrays, step), state, (logs["kl"], logs["reconstruction"])

        state, told = optimiser.init(arrays), []
        for i in range(400):
            arrays, state, logs = learn(arrays, state, batch(), jax.random.key(i))
            told.append([float(x) for x in logs])
        errors[kind] = np.mean(told[-50:], axis=0)
    assert errors[Draw][1] < 0.1 and errors[Rssm][1] < 0.1, "both see where the point is"
    assert errors[Rssm][0] < 0.6 * errors[Draw][0], errors
