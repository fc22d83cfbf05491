"""TD-MPC2's networks: published sizes, initialisation by statistics, what each head means."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.models.latent import SIZES, WorldModel
from worldshift.nn import MLP, Linear, NormedLinear

KEY = jax.random.key(0)
WALKER = (24, 6)
ARRAY = jax.ShapeDtypeStruct | jax.Array


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree) if isinstance(leaf, ARRAY))


def described(size: int, *, episodic: bool = False, dims: tuple[int, int] = WALKER):
    """The model's shapes, without its memory."""
    return eqx.filter_eval_shape(lambda key: WorldModel(*dims, size=size, episodic=episodic, key=key), KEY)


@pytest.fixture(scope="module")
def walker() -> WorldModel:
    return WorldModel(*WALKER, size=1, episodic=True, key=KEY)


# Sizes


@pytest.mark.parametrize(
    ("size", "parameters"), [(1, 1_214_651), (5, 4_960_618), (19, 18_062_442), (48, 47_208_298), (317, 312_595_417)]
)
def test_as_many_parameters_as_published(size, parameters):
    assert count(described(size)) == parameters


@pytest.mark.parametrize(("dims", "parameters"), [((17, 6), 4_958_826), ((8, 2), 4_938_082), ((67, 21), 5_040_776)])
def test_other_bodies_have_the_published_size_too(dims, parameters):
    assert count(described(5, dims=dims)) == parameters


def test_a_termination_head_is_there_only_for_episodic_bodies():
    with_head, without = described(1, episodic=True), described(1)
    assert without.termination_head is None
    layers = (128 + 1) * 384 + 2 * 384 + (384 + 1) * 384 + 2 * 384 + 384 + 1
    assert count(with_head) - count(without) == count(with_head.termination_head) == layers


def test_unknown_size_is_refused():
    with pytest.raises(ValueError, match=r"model size 7 is not one of \[1, 5, 19, 48, 317\]"):
        WorldModel(3, 1, size=7, key=KEY)


@pytest.mark.parametrize("size", SIZES)
def test_layers_are_where_they_are_published(size):
    model, s = described(size), SIZES[size]
    assert [layer.linear.weight.shape[-1] for layer in model.encoder.hidden] == [s.enc_dim] * (s.enc_layers - 1)
    for net in (model.dynamics, model.reward_head, model.policy_head, model.q_heads):
        assert [layer.linear.weight.shape[-1] for layer in net.hidden] == [s.mlp_dim] * 2
    assert all(leaf.shape[0] == s.num_q for leaf in jax.tree.leaves(model.q_heads) if isinstance(leaf, ARRAY))
    assert [layer.dropout for layer in model.q_heads.hidden] == [0.01, 0.0]
    assert s.latent_dim % 8 == 0


# Initialisation


def linears(module) -> list[Linear]:
    found = jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, Linear))
    return [node for node in found if isinstance(node, Linear)]


def test_every_weight_starts_truncated_normal_but_the_heads_that_start_at_zero(walker):
    heads = [walker.reward_head.last, walker.q_heads.last]
    for head in heads:
        assert isinstance(head, Linear) and not np.asarray(head.weight).any() and not np.asarray(head.bias).any()
    others = [layer for layer in linears(walker) if not any(layer is head for head in heads)]
    assert len(others) == 2 + 3 + 2 + 3 + 2 + 3  # encoder, dynamics, reward, policy, Q, termination
    for layer in others:
        w = np.asarray(layer.weight)
        # The relative error of a standard deviation from n draws is 1/sqrt(2n) for a normal, and less for a cut one.
        assert w.std() == pytest.approx(0.02 * 0.87962566, rel=4 / np.sqrt(2 * w.size))
        assert np.abs(w).max() <= 0.04
        assert abs(w.mean()) < 4 * 0.0176 / np.sqrt(w.size)
        assert not np.asarray(layer.bias).any()


def test_layer_norms_start_neutral(walker):
    for node in jax.tree.leaves(walker, is_leaf=lambda node: isinstance(node, NormedLinear)):
        if isinstance(node, NormedLinear):
            assert (np.asarray(node.scale) == 1).all() and (np.asarray(node.shift) == 0).all()


def test_heads_of_the_ensemble_and_seeds_differ(walker):
    hidden = np.asarray(walker.q_heads.hidden[0].linear.weight)
    assert np.abs(np.corrcoef(hidden[0].ravel(), hidden[1].ravel())[0, 1]) < 0.02
    flat = [np.asarray(layer.weight).ravel()[:384] for layer in linears(walker) if np.asarray(layer.weight).any()]
    assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).max() < 0.25  # no key was used twice
    other = WorldModel(*WALKER, size=1, episodic=True, key=jax.random.key(1))
    again = WorldModel(*WALKER, size=1, episodic=True, key=KEY)
    assert bool(eqx.tree_equal(walker, again))
    assert not any(
        np.array_equal(a.weight, b.weight)
        for a, b in zip(linears(walker), linears(other), strict=True)
        if np.asarray(a.weight).any()
    )


# What the heads mean


def test_latents_are_simplices_and_predictions_too(walker):
    obs, action = jax.random.normal(KEY, (7, 24)), jnp.zeros((7, 6))
    z = walker.encode(obs)
    for latent in (z, walker.predict(z, action)):
        assert latent.shape == (7, 128)
        np.testing.assert_allclose(np.asarray(latent).reshape(7, 16, 8).sum(-1), 1.0, rtol=1e-5)


def test_an_untrained_model_expects_nothing(walker):
    z, action = walker.encode(jnp.zeros((7, 24))), jnp.zeros((7, 6))
    np.testing.assert_allclose(np.asarray(walker.reward(z, action)), 0.0, atol=1e-5)
    for head in range(2):
        np.testing.assert_allclose(np.asarray(walker.q_value(walker.q_heads, head, z, action)), 0.0, atol=1e-5)


def constant_policy(model: WorldModel, mean: list[float], raw_log_std: list[float]) -> WorldModel:
    """The policy head replaced by one that ignores the latent."""
    last = model.policy_head.last
    assert isinstance(last, Linear)
    new = (jnp.zeros_like(last.weight), jnp.array([*mean, *raw_log_std]))
    return eqx.tree_at(lambda m: (m.policy_head.last.weight, m.policy_head.last.bias), model, new)


def test_policy_is_a_squashed_gaussian(walker):
    """log sigma = -10 + 6 (tanh(u) + 1), action = tanh(mean + sigma eps); entropy: -A times the log-density of eps."""
    means, raws = [0.0, 0.5, -0.5, 1.0, 2.0, -3.0], [0.7, 0.7, 0.7, 0.75, 0.7, 0.5]
    model = constant_policy(walker, means, raws)
    z = jnp.zeros((4000, 128))
    out = eqx.filter_jit(model.policy)(z, KEY)
    log_std = -10 + 6 * (np.tanh(raws) + 1)
    before = np.arctanh(np.clip(np.asarray(out.action, np.float64), -1 + 1e-7, 1 - 1e-7))
    well_inside = [0, 1, 2, 5]  # where tanh in float32 can be undone
    np.testing.assert_allclose(before.mean(0)[well_inside], np.array(means)[well_inside], atol=0.05)
    np.testing.assert_allclose(before.std(0)[well_inside], np.exp(log_std)[well_inside], rtol=0.05)
    np.testing.assert_allclose(np.asarray(out.mean), np.broadcast_to(np.tanh(means), (4000, 6)), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(model.mean_action(z[0])), np.tanh(means), rtol=1e-5)
    noise = np.asarray(jax.random.normal(KEY, (4000, 6)), np.float64)
    log_density = (-0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(np.asarray(out.scaled_entropy), -6 * log_density, rtol=1e-4, atol=1e-3)


def test_log_std_stays_in_its_range(walker):
    extremes = constant_policy(walker, [0.0] * 6, [-1e3, 1e3, -1e3, 1e3, 0.0, 0.0])
    out = extremes.policy(jnp.zeros((2000, 128)), KEY)
    spread = np.asarray(out.action).std(0)
    np.testing.assert_allclose(spread[[0, 2]], np.exp(-10), rtol=0.1)
    assert (spread[[1, 3]] > 0.9).all()  # sigma e^2 squashed: almost always at the ends
    np.testing.assert_allclose(spread[[4, 5]], np.exp(-4), rtol=0.1)


def test_heads_are_told_apart_by_index(walker):
    bias = jnp.zeros((2, 101)).at[0, 60].set(50.0).at[1, 40].set(50.0)  # head 0 reads symexp(2), head 1 symexp(-2)
    model = eqx.tree_at(lambda m: m.q_heads.last.bias, walker, bias)
    z, action = jnp.zeros((3, 128)), jnp.zeros((3, 6))
    values = [np.asarray(model.q_value(model.q_heads, head, z, action)) for head in (0, jnp.int32(1))]
    np.testing.assert_allclose(values[0], np.expm1(2.0), rtol=1e-3)
    np.testing.assert_allclose(values[1], -np.expm1(2.0), rtol=1e-3)
    np.testing.assert_allclose(np.asarray(model.q_average((0, 1), z, action)), 0.0, atol=1e-3)


def test_random_pairs_are_two_different_heads_each_equally_often():
    model = described(5)  # five heads
    first, second = jax.vmap(model.random_pair)(jax.random.split(KEY, 3000))
    assert (np.asarray(first) != np.asarray(second)).all()
    counts = np.bincount(np.concatenate([np.asarray(first), np.asarray(second)]), minlength=5)
    np.testing.assert_allclose(counts / 6000, 0.2, atol=0.025)


def test_prediction_depends_on_the_action_smoothly(walker):
    """J = dF/da is what a reflex is built on: it exists, is not zero, and agrees with finite differences."""
    z = walker.encode(jax.random.normal(KEY, (24,)))
    predict = jax.jit(lambda a: walker.predict(z, a))
    jacobian = np.asarray(jax.jit(jax.jacfwd(predict))(jnp.zeros(6)))
    assert jacobian.shape == (128, 6) and np.linalg.matrix_rank(jacobian) == 6
    step = 0.05
    for i in range(6):
        d = step * jnp.eye(6)[i]
        numeric = (np.asarray(predict(d)) - np.asarray(predict(-d))) / (2 * step)
        assert np.linalg.norm(jacobian[:, i] - numeric) < 0.01 * np.linalg.norm(numeric)


def test_the_network_classes_are_the_shared_ones(walker):
    for net in (walker.encoder, walker.dynamics, walker.reward_head, walker.policy_head, walker.q_heads):
        assert isinstance(net, MLP)
    assert isinstance(walker.encoder.last, NormedLinear) and isinstance(walker.policy_head.last, Linear)
