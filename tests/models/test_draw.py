"""DRAW's networks: a latent of one observation, a belief that is carried, and samples that are what they say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.models.draw import SIZES, UNIMIX, Draw, Latent

OBS, ACTIONS = 5, 2


@pytest.fixture(scope="module")
def model():
    return Draw(OBS, ACTIONS, episodic=True, key=jax.random.key(0))


def latents(model, seed=0, count=4):
    z = model.encode(jax.random.normal(jax.random.key(seed), (count, OBS)), jax.random.key(seed + 1))
    return Latent(z, model.flat(jax.nn.softmax(jax.random.normal(jax.random.key(seed + 2), model.grouped(z).shape))))


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_shapes(size):
    model = Draw(OBS, ACTIONS, size=size, episodic=True, key=jax.random.key(0))
    s, latent = SIZES[size], latents(model)
    assert model.latent_dim == s.groups * s.classes and latent.z.shape == (4, model.latent_dim)
    assert model.predict(latent, jnp.zeros((4, ACTIONS))).shape == latent.z.shape
    assert model.decode(latent.z).shape == (4, OBS)
    assert model.reward(latent.z).shape == model.goes_on(latent.z).shape == (4,)


def test_a_latent_is_one_class_in_each_group(model):
    z = np.asarray(model.grouped(latents(model).z))
    assert set(np.unique(z)) == {0.0, 1.0} and (z.sum(-1) == 1).all()


def test_the_posterior_keeps_a_share_for_every_class(model):
    p = np.exp(np.asarray(model.infer(model.embed(1e4 * jnp.ones(OBS)))))
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    assert p.min() >= UNIMIX / p.shape[-1] * 0.999


def test_a_latent_depends_on_its_own_observation_alone(model):
    """Whatever stands beside it in a batch or a window."""
    obs = jax.random.normal(jax.random.key(3), (6, OBS))
    together = model.infer(model.embed(obs))
    for i in range(6):
        np.testing.assert_allclose(model.infer(model.embed(obs[i])), together[i], rtol=2e-5, atol=2e-5)


def test_reward_is_zero_before_training(model):
    np.testing.assert_allclose(model.reward(latents(model).z), 0, atol=1e-4)


def test_actions_beyond_the_bounds_act_like_the_bounds(model):
    latent = latents(model)
    inside, beyond = (model.predict(latent, jnp.full((4, ACTIONS), a)) for a in (1.0, 3.0))
    np.testing.assert_array_equal(inside, beyond)


def test_the_next_belief_is_the_softmax_without_unimix(model):
    latent, action = latents(model), jnp.zeros((4, ACTIONS))
    after = model.advance(latent, action, jax.random.key(1))
    expected = jax.nn.softmax(model.grouped(model.predict(latent, action)))
    np.testing.assert_allclose(model.grouped(after.belief), expected, rtol=1e-5, atol=1e-7)


def test_imagined_classes_are_drawn_with_unimix(model):
    """One latent, many draws: frequencies are 0.99 softmax + 0.01 / C."""
    count = 4000
    sharp = eqx.tree_at(lambda m: m.dynamics.last.bias, model, 40.0 * jnp.tile(jnp.array([1.0, 0, 0, 0]), 32))
    latent = jax.tree.map(lambda x: jnp.broadcast_to(x[0], (count, x.shape[-1])), latents(model))
    after = sharp.advance(latent, jnp.zeros((count, ACTIONS)), jax.random.key(1))
    often = np.asarray(model.grouped(after.z)).mean((0, 1))
    np.testing.assert_allclose(often, [1 - 0.75 * UNIMIX, *[UNIMIX / 4] * 3], atol=6e-4)


def test_the_first_belief_is_that_of_the_dynamics_from_nothing(model):
    group = np.zeros((SIZES["tiny"].groups, SIZES["tiny"].classes))
    mode = group.copy()
    mode[:, 0] = 1.0
    start = Latent(jnp.asarray(mode.ravel(), jnp.float32), jnp.full(mode.size, 0.25))
    expected = jax.nn.softmax(model.grouped(model.predict(start, jnp.zeros(ACTIONS))))
    np.testing.assert_allclose(model.first_belief(), np.asarray(expected).ravel(), rtol=1e-5)


def test_initial_weights_have_the_variance_of_their_fans():
    model = Draw(64, 2, size="small", key=jax.random.key(1))
    weight = np.asarray(model.dynamics.hidden[1].linear.weight)
    np.testing.assert_allclose(weight.std(), np.sqrt(2 / sum(weight.shape)), rtol=0.02)


def test_paper_sizes():
    """Published widths give a dynamics of 2.10 M weights and an encoder of vectors of 4.21 M, for cup-catch."""
    shapes = eqx.filter_eval_shape(lambda key: Draw(4, 2, size="paper", key=key), jax.random.key(0))

    def weights(part):
        return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(eqx.filter(part, lambda x: hasattr(x, "shape"))))

    assert abs(weights(shapes.dynamics) / 1e6 - 2.10) < 0.03
    assert abs(weights(shapes.encoder) / 1e6 - 4.21) < 0.03


def test_unknown_size():
    with pytest.raises(ValueError, match="'huge' is not one of nano, tiny, small, paper"):
        Draw(3, 1, size="huge", key=jax.random.key(0))
