"""Layers: Mish and SimNorm against references, initialisation by statistics, dropout, the bfloat16 gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldshift.nn import MLP, Linear, NormedLinear, mish, simnorm, with_precision

KEY = jax.random.key(0)


# Mish


def test_mish_equals_the_reference_and_so_does_its_gradient():
    x = jnp.concatenate([jnp.linspace(-30.0, 30.0, 601), jnp.array([-80.0, -1e4, 80.0, 1e4, 1e6, -1e6])])
    np.testing.assert_allclose(np.asarray(mish(x)), np.asarray(jax.nn.mish(x)), rtol=3e-6, atol=1e-7)
    ours, reference = (np.asarray(jax.vmap(jax.grad(f))(x)) for f in (mish, jax.nn.mish))
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-6)


def test_mish_known_answers():
    assert float(mish(jnp.float32(0.0))) == 0.0
    assert float(mish(jnp.float32(1.0))) == pytest.approx(np.tanh(np.log1p(np.e)), rel=1e-6)
    assert float(jax.grad(mish)(jnp.float32(0.0))) == pytest.approx(0.6, rel=1e-6)  # tanh(ln 2)


# SimNorm


@pytest.mark.parametrize("size", [2, 8])
@given(st.integers(0, 10**6), st.floats(0.125, 50.0))
def test_simnorm_makes_simplices(size, seed, scale):
    x = np.random.default_rng(seed).normal(scale=scale, size=(3, 24)).astype(np.float32)
    z, raw = np.asarray(simnorm(jnp.asarray(x), size)).reshape(3, -1, size), x.reshape(3, -1, size)
    assert z.min() >= 0
    np.testing.assert_allclose(z.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(np.argmax(z, -1), np.argmax(raw, -1))


def test_simnorm_known_answer():
    x = jnp.log(jnp.array([1.0, 3.0, 4.0, 4.0]))
    np.testing.assert_allclose(np.asarray(simnorm(x, 2)), [0.25, 0.75, 0.5, 0.5], rtol=1e-6)


def test_simnorm_groups_are_of_eight():
    np.testing.assert_allclose(np.asarray(simnorm(jnp.zeros((2, 24)))), 1 / 8)


# Initialisation


def test_weights_start_truncated_normal_and_biases_zero():
    linear = Linear.create(400, 300, key=KEY)
    w = np.asarray(linear.weight)
    assert np.abs(w).max() <= 0.04 and np.abs(w).max() > 0.0399  # cut at two sigma of the parent normal
    # A standard normal cut at +-2 has this standard deviation; 120 000 draws know it to about 0.2 %.
    assert w.std() == pytest.approx(0.02 * 0.87962566, rel=0.01)
    assert abs(w.mean()) < 4 * w.std() / np.sqrt(w.size)
    assert not np.asarray(linear.bias).any()
    layer = NormedLinear(4, 5, key=KEY)
    assert np.asarray(layer.scale).tolist() == [1.0] * 5 and np.asarray(layer.shift).tolist() == [0.0] * 5


def test_a_last_layer_of_scale_zero_starts_at_zero():
    net = MLP(3, [4], 4, key=KEY, last_scale=0.0)
    assert not np.asarray(net(jnp.ones((2, 3)))).any()
    assert np.asarray(net.hidden[0].linear.weight).any()


# Layers


def test_normed_linear_against_numpy():
    layer = NormedLinear(6, 10, key=KEY, activation=lambda x: x)
    layer = eqx.tree_at(lambda n: (n.scale, n.shift), layer, (jnp.arange(10.0), jnp.ones(10)))
    x = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    y = x @ np.asarray(layer.linear.weight)
    expected = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5) * np.arange(10) + 1
    np.testing.assert_allclose(np.asarray(layer(jnp.asarray(x))), expected, rtol=2e-4, atol=2e-5)


def test_dropout_acts_with_a_key_only_and_keeps_the_mean():
    layer = NormedLinear(5, 4000, key=KEY, activation=lambda x: x, dropout=0.25)
    layer = eqx.tree_at(lambda n: n.linear.bias, layer, jnp.full(4000, 2.0))
    x = jnp.zeros(5)
    np.testing.assert_allclose(np.asarray(layer(x)), 0.0, atol=1e-3)  # all units equal: normalised away
    dropped = np.asarray(layer(x, jax.random.key(3)))
    values, counts = np.unique(dropped, return_counts=True)
    assert len(values) == 2
    assert counts[0] / 4000 == pytest.approx(0.25, abs=0.03)  # the lower value is the dropped one
    assert values[1] / -values[0] == pytest.approx(counts[0] / counts[1], rel=1e-3)  # zero mean after LayerNorm


def test_any_leading_axes():
    layer = Linear.create(4, 8, key=KEY)
    x = jax.random.normal(KEY, (2, 3, 4))
    expected = np.asarray(x) @ np.asarray(layer.weight)
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.asarray(layer(x[0, 0])), expected[0, 0], rtol=1e-5, atol=1e-7)


def test_annotations_are_enforced_here():
    with pytest.raises(Exception, match=r"[Tt]ype"):
        simnorm(jnp.zeros((2, 8), jnp.int32))


# bfloat16


def test_bfloat16_is_close_to_float32_forward_and_backward():
    net = MLP(64, [64, 64], 64, key=KEY)
    rng = np.random.default_rng(0)
    x, target = (jnp.asarray(rng.normal(size=(16, 64)), jnp.float32) for _ in range(2))

    def loss(net, x):
        return jnp.mean((net(x) - target) ** 2)

    def gradients(precision):
        return jax.tree.leaves(jax.jit(jax.grad(loss, argnums=(0, 1)))(with_precision(net, precision), x))

    exact, fast = gradients("float32"), gradients("bfloat16")
    for a, b in zip(exact, fast, strict=True):
        assert b.dtype == jnp.float32 and a.shape == b.shape
        a, b = np.asarray(a).ravel(), np.asarray(b).ravel()
        assert np.linalg.norm(a - b) < 0.03 * np.linalg.norm(a)
        assert not np.array_equal(a, b)  # it is another precision


def test_the_bfloat16_weight_gradient_is_exact_for_a_single_layer():
    """Only the product and the gradient of the input are rounded; the weight gradient x^T g is float32."""
    layer, rng = Linear.create(4, 8, key=KEY), np.random.default_rng(0)
    x, g = (jnp.asarray(rng.normal(size=(3, 4, n)), jnp.float32) for n in (4, 8))
    grad = jax.grad(lambda layer: jnp.sum(layer(x) * g))(with_precision(layer, "bfloat16"))
    np.testing.assert_allclose(
        np.asarray(grad.weight), np.einsum("abi,abo->io", np.asarray(x), np.asarray(g)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(np.asarray(grad.bias), np.asarray(g).sum((0, 1)), rtol=1e-5)


def test_with_precision_changes_every_layer_and_no_weight():
    net = MLP(3, [4, 4], 4, key=KEY, output=simnorm)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), net)  # an ensemble has an axis more
    fast = with_precision(stacked, "bfloat16")
    layers = [n for n in jax.tree.leaves(fast, is_leaf=lambda n: isinstance(n, Linear)) if isinstance(n, Linear)]
    assert [layer.precision for layer in layers] == ["bfloat16"] * 3
    assert jax.tree.structure(with_precision(fast, "float32")) == jax.tree.structure(stacked)
    assert all(a is b for a, b in zip(jax.tree.leaves(stacked), jax.tree.leaves(fast), strict=True))
