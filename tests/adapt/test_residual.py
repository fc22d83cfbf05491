"""The residual: neutral before it has learned, and the only thing that a gradient reaches."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.residual import PAPER, Corrected, ResidualConfig
from worldshift.models.draw import UNIMIX, Draw, Latent

OBS, ACTIONS = 3, 1


@pytest.fixture(scope="module")
def model():
    return Draw(OBS, ACTIONS, key=jax.random.key(0))


@pytest.fixture(scope="module")
def latent(model):
    z = model.encode(jax.random.normal(jax.random.key(1), (8, OBS)), jax.random.key(2))
    return Latent(z, model.flat(jax.nn.softmax(jax.random.normal(jax.random.key(3), model.grouped(z).shape))))


ACTION = jnp.linspace(-1, 1, 8)[:, None]


def test_zero_init_changes_nothing_at_all(model, latent):
    corrected = Corrected(model, key=jax.random.key(4))
    np.testing.assert_array_equal(corrected.predict(latent, ACTION), model.predict(latent, ACTION))
    ours, theirs = (w.advance(latent, ACTION, jax.random.key(5)) for w in (corrected, model))
    assert eqx.tree_equal(ours, theirs) and corrected.unimix == UNIMIX


def test_the_published_start_perturbs_the_logits(model, latent):
    corrected = Corrected(model, PAPER, key=jax.random.key(4))
    change = np.asarray(corrected.predict(latent, ACTION) - model.predict(latent, ACTION))
    assert 0.2 < change.std() < 2.0 and corrected.unimix == 0.0


def test_the_correction_is_added_to_the_logits(model, latent):
    corrected = Corrected(model, ResidualConfig(zero_init=False), key=jax.random.key(4))
    expected = model.predict(latent, ACTION) + corrected.network(jnp.concatenate([ACTION, latent.z, latent.belief], -1))
    np.testing.assert_allclose(corrected.predict(latent, ACTION), expected, rtol=1e-5, atol=1e-5)


def test_a_replacement_forgets_the_old_dynamics(model, latent):
    other = Corrected(model, replace=True, key=jax.random.key(4))
    expected = other.network(jnp.concatenate([ACTION, latent.z, latent.belief], -1))
    np.testing.assert_allclose(other.predict(latent, ACTION), expected, rtol=1e-6)


def test_the_belief_counts_only_where_it_is_asked_for(model, latent):
    moved = latent._replace(belief=jnp.roll(latent.belief, 1, axis=-1))
    for belief in (False, True):
        corrected = Corrected(
            model, ResidualConfig(belief=belief, zero_init=False), replace=True, key=jax.random.key(4)
        )
        same = np.allclose(corrected.predict(latent, ACTION), corrected.predict(moved, ACTION))
        assert same == (not belief)


def test_the_carried_belief_is_the_corrected_one(model, latent):
    corrected = Corrected(model, ResidualConfig(zero_init=False), key=jax.random.key(4))
    after = corrected.advance(latent, ACTION, jax.random.key(5))
    expected = jax.nn.softmax(model.grouped(corrected.predict(latent, ACTION)))
    np.testing.assert_allclose(model.grouped(after.belief), expected, rtol=1e-5, atol=1e-7)


def test_a_gradient_reaches_the_network_alone(model, latent):
    corrected = Corrected(model, ResidualConfig(zero_init=False), key=jax.random.key(4))
    weight = jax.random.normal(jax.random.key(6), latent.z.shape)
    gradient = eqx.filter_grad(lambda c: jnp.sum(weight * c.predict(latent, ACTION)))(corrected)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient.model))
    assert any(np.abs(np.asarray(leaf)).max() > 0 for leaf in jax.tree.leaves(gradient.network))
