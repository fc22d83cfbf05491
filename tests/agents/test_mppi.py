"""MPPI on models whose best plan is known in closed form: it finds it, within bounds, from any start."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.agents.mppi import PlannerConfig, plan
from worldshift.models.latent import Policy, WorldModel

KEY = jax.random.key(0)
CONFIG = PlannerConfig(iterations=8)
NOWHERE = (9.0, 9.0)


class Known(WorldModel):
    """A latent in the plane that actions push: z' = z + a. What it pays is set by the fields."""

    best: jax.Array  # reward -curvature |a - best|^2
    curvature: jax.Array
    slope: jax.Array  # terminal value slope * sum(z)
    spike: jax.Array  # an action, and nothing around it, that pays 1000; the policy proposes it
    broken: jax.Array  # reward is NaN for a[0] above this

    def __init__(self, best=(0.0, 0.0), curvature=0.0, slope=0.0, spike=NOWHERE, broken=np.inf, *, deadly=False):
        self.obs_dim = self.action_dim = self.latent_dim = self.num_q = 2
        self.encoder = self.dynamics = self.reward_head = self.policy_head = self.q_heads = None  # pyright: ignore
        self.termination_head = (lambda z: 10 * z[..., :1] - 1) if deadly else None  # pyright: ignore
        numbers = (best, curvature, slope, spike, broken)
        self.best, self.curvature, self.slope, self.spike, self.broken = (jnp.asarray(x, jnp.float32) for x in numbers)

    def predict(self, z, action):
        return z + action

    def reward(self, z, action):
        near = jnp.all(jnp.abs(action - self.spike) < 1e-3, axis=-1)
        paid = -self.curvature * jnp.sum((action - self.best) ** 2, axis=-1) + 1000.0 * near
        return jnp.where(action[..., 0] > self.broken, jnp.nan, paid)

    def policy(self, z, key):
        action = jnp.broadcast_to(jnp.clip(self.spike, -1, 1), z.shape)
        return Policy(action, action, jnp.zeros(z.shape[:-1]))

    def q_value(self, heads, index, z, action):
        return self.slope * jnp.sum(z, axis=-1)


@partial(jax.jit, static_argnums=(4, 5, 6))
def run(arrays, z, previous, key, config, discount, static):
    return plan(eqx.combine(arrays, static), z, previous, key, config, discount)


def planned(model: Known, *, z=(0.0, 0.0), previous=None, key=KEY, config=CONFIG, discount=0.5):
    arrays, static = eqx.partition(model, eqx.is_array)
    start = jnp.zeros((config.horizon, 2)) if previous is None else jnp.asarray(previous, jnp.float32)
    action, mean = run(arrays, jnp.asarray(z, jnp.float32), start, key, config, discount, static)
    action, mean = np.asarray(action), np.asarray(mean)
    assert action.shape == (2,) and mean.shape == (config.horizon, 2)
    assert np.abs(action).max() <= 1 and np.isfinite(mean).all()
    return action, mean


def test_it_finds_the_action_that_pays_most():
    action, mean = planned(Known(best=(0.6, -0.3), curvature=50.0))
    np.testing.assert_allclose(action, [0.6, -0.3], atol=0.2)  # an elite, not the mean
    np.testing.assert_allclose(mean[0], [0.6, -0.3], atol=0.05)
    np.testing.assert_allclose(mean, np.broadcast_to([0.6, -0.3], (3, 2)), atol=0.2)  # later steps count for less


def test_it_trades_rewards_against_the_value_at_the_end():
    """Sum gamma^t (-c |a_t|^2) + gamma^H b sum(a_0 + a_1 + a_2) is greatest at a_t = gamma^(H-t) b / 2c."""
    _, mean = planned(Known(curvature=200.0, slope=800.0))
    np.testing.assert_allclose(mean, 2 * np.array([[0.125, 0.125], [0.25, 0.25], [0.5, 0.5]]), atol=0.08)


def test_it_stays_within_bounds_when_the_best_is_beyond():
    action, _ = planned(Known(best=(3.0, -5.0), curvature=20.0))
    np.testing.assert_allclose(action, [1.0, -1.0], atol=0.05)


def test_it_takes_what_the_policy_proposes():
    """One action in a plane of nothing: drawn samples never hit it, the policy does."""
    model = Known(spike=(0.3137, -0.2718))
    np.testing.assert_allclose(planned(model)[0], [0.3137, -0.2718], atol=1e-5)
    alone, _ = planned(model, config=replace(CONFIG, policy_samples=0))
    assert np.abs(alone - [0.3137, -0.2718]).max() > 0.01


def test_it_starts_from_the_previous_plan_moved_by_a_step():
    previous = [[0.9, 0.9], [0.5, -0.5], [0.2, 0.1]]
    still = replace(CONFIG, iterations=1, policy_samples=0, min_std=1e-4, max_std=1e-4)
    action, mean = planned(Known(), previous=previous, config=still)
    np.testing.assert_allclose(mean, [[0.5, -0.5], [0.2, 0.1], [0.0, 0.0]], atol=1e-3)
    np.testing.assert_allclose(action, [0.5, -0.5], atol=1e-3)


def test_the_same_key_gives_the_same_plan():
    model = Known(best=(0.6, -0.3), curvature=1.0)
    one, same, other = (planned(model, key=jax.random.key(seed)) for seed in (1, 1, 2))
    assert one[0].tobytes() == same[0].tobytes() and one[1].tobytes() == same[1].tobytes()
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("broken", [0.0, -0.5])
def test_plans_of_unknown_value_are_not_taken(broken):
    """Where the model says NaN it does not go; the best of the rest lies on the edge."""
    action, mean = planned(Known(best=(0.8, 0.4), curvature=200.0, broken=broken))
    assert (mean[:, 0] <= broken).all() and action[0] <= broken
    np.testing.assert_allclose(action, [broken, 0.4], atol=0.15)


@pytest.mark.parametrize(("z", "broken"), [((0.0, 0.0), -9.0), ((np.nan, 0.0), np.inf), ((np.inf, -np.inf), np.inf)])
def test_a_broken_model_or_state_still_gives_a_finite_action(z, broken):
    action, _ = planned(Known(best=(0.8, 0.4), curvature=1.0, slope=1.0, broken=broken), z=z)
    assert np.isfinite(action).all()


def test_a_policy_that_fails_does_not_spoil_the_plan():
    action, _ = planned(Known(best=(0.6, -0.3), curvature=200.0, spike=(np.nan, np.nan)))
    np.testing.assert_allclose(action, [0.6, -0.3], atol=0.1)


def test_nothing_counts_after_a_predicted_end():
    """z[0] > 0.1 ends the episode. Value waits at z = +(3, 3), but only for those who never went right on the way."""
    greedy, careful = Known(slope=200.0), Known(slope=200.0, deadly=True)
    np.testing.assert_allclose(planned(greedy)[1][:, 0], 1.0, atol=0.1)
    _, mean = planned(careful)
    assert mean[:, 0].sum() < 0.15 and (np.cumsum(mean[:, 0]) < 0.15).all()
    np.testing.assert_allclose(mean[:, 1], 1.0, atol=0.1)


def test_exploring_adds_the_plan_s_own_spread():
    model = Known(best=(0.2, -0.2), curvature=200.0)
    config = replace(CONFIG, min_std=0.3)

    @jax.jit
    @jax.vmap
    def both(key):
        return tuple(
            plan(model, jnp.zeros(2), jnp.zeros((3, 2)), key, config, 0.5, flag).action for flag in (False, True)
        )

    still, noisy = map(np.asarray, both(jax.random.split(KEY, 64)))
    np.testing.assert_allclose((noisy - still).std(0), 0.3, atol=0.1)
    assert np.abs(noisy).max() <= 1


@pytest.mark.parametrize(("actions", "iterations"), [(19, 6), (20, 8)])
def test_large_bodies_get_two_more_iterations(actions, iterations):
    shapes = eqx.filter_eval_shape(lambda: WorldModel(3, actions, size=1, key=KEY))
    model = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    call = lambda z, m: plan(model, z, m, KEY, PlannerConfig(samples=8, elites=4, policy_samples=2), 0.9)  # noqa: E731
    jaxpr = jax.make_jaxpr(call)(jnp.zeros(128), jnp.zeros((3, actions)))
    lengths = [eqn.params["length"] for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    assert lengths == [3, iterations]  # the policy's roll-out, then the planner's iterations


@pytest.mark.parametrize(
    "settings", [{"horizon": 0}, {"iterations": 0}, {"elites": 0}, {"elites": 513}, {"policy_samples": 512}]
)
def test_settings_that_cannot_plan_are_refused(settings):
    (value,) = settings.values()
    with pytest.raises(ValueError, match=f"not {value}|{next(iter(settings))} {value}"):
        PlannerConfig(**settings)
