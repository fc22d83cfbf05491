"""TD-MPC2's learner: every loss against a computation by hand, who learns from what and how fast, exact repetition.

Compiling takes most of the time here, so few configurations are used, and the model is small.
"""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.agents import tdmpc2
from worldshift.agents.tdmpc2 import LearnerConfig
from worldshift.data.replay import Batch
from worldshift.models import latent
from worldshift.models.latent import Size, WorldModel
from worldshift.nn import Linear

KEY = jax.random.key(0)
OBS, ACTIONS, BATCH, HORIZON = 3, 2, 6, 3
RHO, DISCOUNT = 0.7, 0.8  # not the defaults
CONFIG = LearnerConfig(batch=BATCH, horizon=HORIZON, rho=RHO)
PAID = replace(CONFIG, action_cost="quadratic", action_cost_weight=0.7, action_cost_in="reward")
FREE = replace(CONFIG, action_cost="none")
BINS = np.linspace(-10, 10, 101)

update = jax.jit(tdmpc2.update, static_argnums=(3, 4))
model_gradient = eqx.filter_jit(eqx.filter_value_and_grad(tdmpc2.model_loss, has_aux=True))


@pytest.fixture(scope="module")
def model() -> WorldModel:
    """A small one with two heads whose every number is drawn, so that nothing is zero by chance or design."""
    rng = np.random.default_rng(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latent.SIZES, 0, Size(16, 16, 16, 2, 2))
        shapes = eqx.filter_eval_shape(lambda: WorldModel(OBS, ACTIONS, size=0, episodic=True, key=KEY))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def state(model: WorldModel) -> tdmpc2.LearnerState:
    other = jax.tree.map(lambda leaf: -leaf, model.q_heads)
    return tdmpc2.init(model, CONFIG)._replace(target_q=other)


def draw_batch(seed: int = 0, count: int | None = None) -> Batch:
    rng = np.random.default_rng(seed)
    lead = () if count is None else (count,)
    fields = (
        rng.normal(size=(*lead, HORIZON + 1, BATCH, OBS)),
        rng.uniform(-1, 1, (*lead, HORIZON, BATCH, ACTIONS)),
        rng.normal(scale=3.0, size=(*lead, HORIZON, BATCH)),
        rng.random((*lead, HORIZON, BATCH)) < 0.3,
    )
    return Batch(*(jnp.asarray(field, jnp.float32) for field in fields))


def with_policy(model: WorldModel, mean: list[float], raw_log_std: float = -30.0) -> WorldModel:
    """A policy that ignores the latent; by default it hardly varies (sigma = e^-10)."""
    assert isinstance(model.policy_head.last, Linear)
    weight, bias = model.policy_head.last.weight, [*np.arctanh(mean), *[raw_log_std] * ACTIONS]
    where = lambda m: (m.policy_head.last.weight, m.policy_head.last.bias)  # noqa: E731
    return eqx.tree_at(where, model, (jnp.zeros_like(weight), jnp.array(bias, jnp.float32)))


def with_constant_q(model: WorldModel, bias: np.ndarray) -> WorldModel:
    """Q heads that ignore their input, and with it the dropout."""
    assert isinstance(model.q_heads.last, Linear)
    where = lambda m: (m.q_heads.last.weight, m.q_heads.last.bias)  # noqa: E731
    weight = jnp.zeros_like(model.q_heads.last.weight)
    return eqx.tree_at(where, model, (weight, jnp.asarray(bias, jnp.float32)))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(logits: jax.Array | np.ndarray, scalar: float) -> float:
    """By hand: the scalar's symlog between its two bins of width 0.2."""
    position = (np.sign(scalar) * np.log1p(abs(scalar)) + 10) / 0.2
    low = int(np.floor(position))
    log_p = log_softmax(np.asarray(logits, np.float64))
    return float(-((low + 1 - position) * log_p[low] + (position - low) * log_p[low + 1]))


def read_out(logits: jax.Array) -> np.ndarray:
    value = np.exp(log_softmax(np.asarray(logits, np.float64))) @ BINS
    return np.sign(value) * np.expm1(np.abs(value))


def same(one, other) -> bool:
    return bool(eqx.tree_equal(one, other))


def distance(one, other) -> float:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


# The losses


def test_model_loss_by_hand(model, state):
    """Consistency, reward, value with TD target r + gamma (1 - done) min Q', termination: step by step in NumPy."""
    mean, q_bias = [0.3, -0.6], np.random.default_rng(1).normal(size=(2, 101))
    model = with_constant_q(with_policy(model, mean), q_bias)
    batch = draw_batch()
    (total, (rolled, parts)), _ = model_gradient(model, state.target_q, batch, DISCOUNT, CONFIG, KEY)

    expected = {"consistency": 0.0, "reward": 0.0, "value": 0.0, "termination": 0.0}
    picked = set()
    next_action = jnp.broadcast_to(jnp.array(mean), (BATCH, ACTIONS))
    z, next_z = model.encode(batch.obs[0]), model.encode(batch.obs[1:])
    for t in range(HORIZON):
        np.testing.assert_allclose(np.asarray(rolled[t]), np.asarray(z), rtol=1e-4, atol=1e-6)
        q = np.stack([read_out(model.q_logits(state.target_q, k, next_z[t], next_action)) for k in range(2)])
        picked |= set(q.argmin(0))
        reward, done = np.asarray(batch.reward[t], np.float64), np.asarray(batch.terminated[t])
        target = reward + DISCOUNT * (1 - done) * q.min(0)
        reward_logits = model.reward_head(jnp.concatenate([z, batch.action[t]], -1))
        z = model.predict(z, batch.action[t])
        assert model.termination_head is not None
        ends = 1 / (1 + np.exp(-np.asarray(model.termination_head(z)[..., 0], np.float64)))
        for b in range(BATCH):
            weight = RHO**t / BATCH / HORIZON
            expected["consistency"] += weight * float(np.mean((np.asarray(z[b]) - np.asarray(next_z[t, b])) ** 2))
            expected["reward"] += weight * cross_entropy(reward_logits[b], reward[b])
            expected["value"] += weight * sum(cross_entropy(q_bias[k], target[b]) for k in range(2)) / 2
            expected["termination"] += -np.log(ends[b] if done[b] else 1 - ends[b]) / BATCH / HORIZON
    assert picked == {0, 1} and batch.terminated.any() and not batch.terminated.all()
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(value, rel=1e-3), name
    weighed = 20 * expected["consistency"] + 0.1 * expected["reward"] + 0.1 * expected["value"]
    assert float(total) == pytest.approx(weighed + expected["termination"], rel=1e-4)
    np.testing.assert_allclose(np.asarray(rolled[HORIZON]), np.asarray(z), rtol=1e-4, atol=1e-6)


def test_policy_loss_by_hand(model):
    """- mean_t rho^t mean_b (Q / S + 1e-4 entropy - cost), Q the mean of two heads, S the running 5-95 % range."""
    model = with_policy(model, [0.9, -0.2], raw_log_std=0.5)
    rolled = model.encode(draw_batch().obs)
    loss, (scale, logs) = tdmpc2.policy_loss(model.policy_head, model, rolled, jnp.float32(4.0), CONFIG, KEY)

    sample = model.policy(rolled, jax.random.split(KEY)[0])
    q = np.mean([read_out(model.q_logits(model.q_heads, k, rolled, sample.action)) for k in range(2)], axis=0)
    spread = np.percentile(q[0], 95) - np.percentile(q[0], 5)
    assert spread > 1  # above the floor: the range is what counts
    expected_scale = 0.99 * 4.0 + 0.01 * spread
    assert float(scale) == pytest.approx(expected_scale, rel=1e-4)
    cost = 0.05 * (np.maximum(0, np.abs(np.asarray(sample.action)) - 0.5) ** 2).sum(-1)
    objective = q / expected_scale + 1e-4 * np.asarray(sample.scaled_entropy) - cost
    expected = -np.mean(RHO ** np.arange(HORIZON + 1) * objective.mean(1))
    assert float(loss) == pytest.approx(expected, rel=1e-3)
    assert float(logs["saturated"]) == 0.0 and float(logs["q"]) == pytest.approx(q.mean(), rel=1e-3)


def test_q_scale_is_floored_at_one(model):
    flat = with_constant_q(model, np.zeros((2, 101)))
    rolled = flat.encode(draw_batch().obs)
    _, (scale, _) = tdmpc2.policy_loss(flat.policy_head, flat, rolled, jnp.float32(3.0), CONFIG, KEY)
    assert float(scale) == pytest.approx(3.0 + 0.01 * (1.0 - 3.0), rel=1e-6)


# Discount and action cost


@pytest.mark.parametrize(
    ("steps", "discount"),
    [(500, 0.99), (200, 0.975), (1000, 0.995), (100_000, 0.995), (100, 0.95), (50, 0.95), (1, 0.95)],
)
def test_discount_follows_the_episode_length(steps, discount):
    assert LearnerConfig().discount(steps) == pytest.approx(discount, abs=1e-9)


def test_discount_has_the_bounds_that_were_asked_for():
    assert LearnerConfig(discount_max=0.99).discount(1000) == 0.99
    assert LearnerConfig(discount_min=0.5).discount(10) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("none", 0.0), ("thresholded", 0.05 * (0.3**2 + 0.5**2)), ("quadratic", 0.05 * (0.8**2 + 1.0 + 0.3**2))],
)
def test_action_cost_by_hand(kind, expected):
    action = jnp.array([[0.8, -1.0, 0.3], [0.0, 0.0, 0.0]])
    cost = np.asarray(LearnerConfig(action_cost=kind, action_cost_weight=0.05).cost(action))
    np.testing.assert_allclose(cost, [expected, 0.0], rtol=1e-5, atol=1e-9)
    assert float(LearnerConfig(action_cost=kind, action_cost_weight=0.5).cost(action)[0]) == pytest.approx(
        10 * expected
    )


@pytest.mark.parametrize("kind", ["thresholded", "quadratic", "none"])
def test_the_cost_is_in_the_policy_loss_or_in_the_reward(model, kind):
    still = with_policy(model, [0.9, -0.7])  # hardly any noise: the cost of the mean is the cost
    rolled, scale = still.encode(draw_batch().obs), jnp.float32(1.0)
    losses = {}
    for place in ("policy", "reward"):
        config = replace(CONFIG, action_cost=kind, action_cost_weight=0.4, action_cost_in=place)
        losses[place] = float(tdmpc2.policy_loss(still.policy_head, still, rolled, scale, config, KEY)[0])
    base = float(tdmpc2.policy_loss(still.policy_head, still, rolled, scale, FREE, KEY)[0])
    squares = {"thresholded": 0.4**2 + 0.2**2, "quadratic": 0.9**2 + 0.7**2, "none": 0.0}[kind]
    weights = np.mean(RHO ** np.arange(HORIZON + 1))
    assert losses["policy"] - base == pytest.approx(weights * 0.4 * squares, rel=1e-3, abs=1e-6)
    assert losses["reward"] == base


def test_cost_in_the_reward_is_training_on_a_lower_reward(state):
    batch = draw_batch()
    got, _ = update(state, batch, KEY, DISCOUNT, PAID)
    lower = batch._replace(reward=batch.reward - 0.7 * jnp.sum(batch.action**2, -1))
    expected, plain = (update(state, each, KEY, DISCOUNT, FREE)[0] for each in (lower, batch))
    assert distance(got.model, expected.model) < 1e-5 < distance(got.model, plain.model)


# Who learns what


def test_the_model_loss_leaves_the_policy_alone(model, state):
    _, grads = model_gradient(model, state.target_q, draw_batch(), DISCOUNT, CONFIG, KEY)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads.policy_head))
    for part in (grads.encoder, grads.dynamics, grads.reward_head, grads.q_heads, grads.termination_head):
        assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(part))


def test_the_policy_loss_leaves_the_model_alone(model):
    rolled = model.encode(draw_batch().obs)

    def loss(parts):
        head, whole = parts
        return tdmpc2.policy_loss(head, whole, rolled, jnp.float32(1.0), CONFIG, KEY)[0]

    head, whole = eqx.filter_jit(eqx.filter_grad(loss))((model.policy_head, model))
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(head))
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(whole))


def test_what_only_the_policy_sees_moves_only_the_policy(state):
    base, logs = update(state, draw_batch(), KEY, DISCOUNT, PAID)
    other, _ = update(state._replace(q_scale=jnp.float32(50.0)), draw_batch(), KEY, DISCOUNT, PAID)
    strip = lambda s: eqx.tree_at(lambda m: m.policy_head, s.model, None)  # noqa: E731
    assert same(strip(base), strip(other)) and same(base.model_opt, other.model_opt)
    assert not same(base.model.policy_head, other.model.policy_head)
    assert all(not same(a, b) for a, b in zip(*map(jax.tree.leaves, (base.model, state.model)), strict=True))
    assert int(base.updates) == 1 and all(np.isfinite(float(value)) for value in logs.values())
    assert jax.tree.structure(base) == jax.tree.structure(state)


def test_the_target_follows_by_a_hundredth(state):
    new, _ = update(state, draw_batch(), KEY, DISCOUNT, PAID)
    heads = map(jax.tree.leaves, (state.target_q, new.model.q_heads, new.target_q))
    for old, online, target in zip(*heads, strict=True):
        expected = 0.99 * np.asarray(old, np.float64) + 0.01 * np.asarray(online, np.float64)
        np.testing.assert_allclose(np.asarray(target), expected, rtol=1e-5, atol=1e-6)


def test_a_new_learner_starts_from_its_model(model):
    fresh = tdmpc2.init(model, CONFIG)
    assert same(fresh.target_q, model.q_heads) and float(fresh.q_scale) == 1.0 and int(fresh.updates) == 0
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves((fresh.model_opt, fresh.policy_opt)))


class Gradient(eqx.Module):
    """As much of a model's gradient as the optimisers look at."""

    encoder: jax.Array
    rest: jax.Array


def first_step(gradient: Any, which: int) -> Any:
    """Of the model's optimiser (0) or the policy's (1)."""
    optimiser = tdmpc2.optimisers(CONFIG)[which]
    return optimiser.update(gradient, optimiser.init(gradient))[0]


def test_the_encoder_learns_at_three_tenths_of_the_rate():
    """Adam's first step is the learning rate itself, whatever the size of a gradient."""
    gradient = Gradient(jnp.array([1e-2, -3e-2]), jnp.array([2e-2, 1e-1]))
    step = first_step(gradient, 0)
    np.testing.assert_allclose(np.asarray(step.encoder), [-9e-5, 9e-5], rtol=1e-3)
    np.testing.assert_allclose(np.asarray(step.rest), [-3e-4, -3e-4], rtol=1e-3)


def test_the_policy_has_its_own_adam_with_a_larger_epsilon():
    """Where gradients are as small as its epsilon of 1e-5, the first step is half the learning rate."""
    step = first_step(Gradient(jnp.full(2, 1e-5), jnp.full(2, 1e-5)), 1)
    np.testing.assert_allclose(np.asarray([step.encoder, step.rest]), -1.5e-4, rtol=1e-3)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("norm", "expected"), [(1000.0, 20.0), (20.5, 20.0), (7.0, 7.0)])
def test_gradients_are_clipped_at_a_global_norm_of_20(which, norm, expected):
    direction = np.array([2.0, 3.0, 6.0, 0.0], np.float32) / 7
    gradient: Any = Gradient(jnp.asarray(norm * direction[:2]), jnp.asarray(norm * direction[2:]))
    optimiser = tdmpc2.optimisers(CONFIG)[which]
    after: Any = optimiser.update(gradient, optimiser.init(gradient))[1]
    mean = after[1].mu  # Adam's first moment: a tenth of the gradient that reached it
    seen = 10 * np.concatenate([np.asarray(mean.encoder), np.asarray(mean.rest)])
    np.testing.assert_allclose(seen, expected * direction, rtol=1e-4)


# Many updates


MANY_KEY = jax.random.key(9)


@pytest.fixture(scope="module")
def three(state) -> tuple[tdmpc2.LearnerState, dict]:
    return tdmpc2.update_many(state, draw_batch(5, count=3), MANY_KEY, DISCOUNT, PAID, jnp.ones(()))


def test_many_updates_equal_single_ones(state, three):
    batches, keys = draw_batch(5, count=3), jax.random.split(MANY_KEY, 3)
    single, rows = state, []
    for k in range(3):
        single, logs = update(single, Batch(*(field[k] for field in batches)), keys[k], DISCOUNT, PAID)
        rows.append(logs)
    many, logs = three
    assert int(many.updates) == int(single.updates) == 3
    assert distance(many.model, single.model) < 0.05 * distance(many.model, state.model)
    gap = [np.mean(np.abs(np.asarray(a) - np.asarray(b))) for a, b in zip(*leaves(many, single), strict=True)]
    way = [np.mean(np.abs(np.asarray(a) - np.asarray(b))) for a, b in zip(*leaves(many, state), strict=True)]
    assert max(g / w for g, w in zip(gap, way, strict=True)) < 1e-3
    for name in rows[0]:
        assert float(logs[name]) == pytest.approx(np.mean([float(row[name]) for row in rows]), rel=1e-3, abs=1e-5), name


def leaves(*states: tdmpc2.LearnerState) -> list[list[jax.Array]]:
    return [jax.tree.leaves((state.model, state.target_q)) for state in states]


def test_the_same_seed_gives_the_same_bytes(state, three):
    again, _ = tdmpc2.update_many(state, draw_batch(5, count=3), MANY_KEY, DISCOUNT, PAID, jnp.ones(()))
    for a, b in zip(jax.tree.leaves(three[0]), jax.tree.leaves(again), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    other, _ = tdmpc2.update_many(state, draw_batch(5, count=3), jax.random.key(10), DISCOUNT, PAID, jnp.ones(()))
    assert not same(again.model.policy_head, other.model.policy_head)


def test_numpy_batches_are_as_good_as_jax_ones(state, three):
    batches = Batch(*(np.asarray(field) for field in draw_batch(5, count=3)))
    assert same(tdmpc2.update_many(state, batches, MANY_KEY, DISCOUNT, PAID, jnp.ones(()))[0].model, three[0].model)


def test_the_rate_scales_every_step(state, three):
    """Of a run that anneals: at rate 0 nothing moves, at a tenth the first steps are a tenth as long."""
    still, slow = (
        tdmpc2.update_many(state, draw_batch(5, count=3), MANY_KEY, DISCOUNT, PAID, jnp.float32(rate))[0].model
        for rate in (0.0, 0.1)
    )
    assert same(still, state.model)
    for part in (lambda m: m.encoder, lambda m: m.policy_head, lambda m: m.q_heads):
        far, near = (distance(part(model), part(state.model)) for model in (three[0].model, slow))
        assert near == pytest.approx(0.1 * far, rel=0.1)


def test_bfloat16_leaves_no_trace_in_the_state(state):
    """Master weights, moments and their names stay as they are, so a checkpoint does not depend on the precision."""
    fast = replace(CONFIG, precision="bfloat16")
    new, _ = eqx.filter_eval_shape(lambda: tdmpc2.update(state, draw_batch(), KEY, DISCOUNT, fast))
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
