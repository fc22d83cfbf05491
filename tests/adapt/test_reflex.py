"""The paper's reflex: its gradient against finite differences and a loop by hand, its step, and its limits."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.contract import Transition
from worldshift.adapt.reflex import Controller, Reflex, ReflexConfig, action_gradient, precondition, where_due

EPISODE, ACTIONS = 12, 3


@pytest.fixture(scope="module")
def model(agent):
    return agent.model


@pytest.fixture(scope="module")
def rolled(model):
    """Latents and base actions of an episode that did not go as the model says."""
    observations = jax.random.normal(jax.random.key(0), (EPISODE + 1, 6))
    bases = jax.random.uniform(jax.random.key(1), (EPISODE, ACTIONS), minval=-1)
    return model.encode(observations), bases


def by_hand(model, latents, bases, steps, horizon, rho):
    """The multi-step loss, window by window, as the facts write it."""
    windows = range(min(steps, len(bases)) - horizon + 1)
    total = 0.0
    for s in windows:
        z = latents[s]
        for i in range(horizon):
            z = model.predict(z, bases[s + i])
            total += rho**i * jnp.mean((z - latents[s + i + 1]) ** 2)
    return total / len(windows) / horizon


def test_one_step_gradient_is_minus_twice_jacobian_transposed_error(model, rolled):
    """By central differences: d loss / d a0 = -2 Jᵀe / d, with e = z' - F(z, a0)."""
    z, after = rolled[0][0], rolled[0][1]
    base = rolled[1][0]
    _, gradient = action_gradient(model, jnp.stack([z, after]), base[None], 1, 1, 0.5)
    error = np.asarray(after - model.predict(z, base))
    step = 0.05
    jacobian = [
        np.asarray(model.predict(z, base + step * e) - model.predict(z, base - step * e)) / (2 * step)
        for e in jnp.eye(ACTIONS)
    ]
    expected = -2 * np.stack(jacobian) @ error / len(error)
    assert np.abs(expected).max() > 1e-6
    np.testing.assert_allclose(gradient[0], expected, rtol=0.02, atol=1e-2 * np.abs(expected).max())


@pytest.mark.parametrize(("steps", "horizon"), [(EPISODE, 3), (EPISODE, 1), (EPISODE, EPISODE), (7, 3)])
def test_multi_step_gradient_equals_a_loop_by_hand(model, rolled, steps, horizon):
    latents, bases = rolled
    loss, gradient = action_gradient(model, latents, bases, steps, horizon, 0.5)
    expected, slope = jax.value_and_grad(lambda b: by_hand(model, latents, b, steps, horizon, 0.5))(bases)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-3, atol=1e-4 * np.abs(slope).max())


def test_what_lies_beyond_the_last_step_does_not_count(model, rolled):
    latents, bases = rolled
    leftover = latents.at[8:].set(jax.nn.softmax(latents[8:] * 50)), bases.at[7:].set(-bases[7:])
    whole, changed = (jax.jit(action_gradient, static_argnums=(4, 5))(model, *x, 7, 3, 0.5) for x in (rolled, leftover))
    assert whole[0] == changed[0]
    np.testing.assert_array_equal(whole[1], changed[1])
    assert np.abs(whole[1][:7]).min() > 0 and not whole[1][7:].any()


def episode(reflex, state, observations, *, valid=True):
    """One episode along given observations."""
    for obs, after in itertools.pairwise(observations):
        command, state = reflex.act(state, obs, jax.random.key(0))
        zero = jnp.zeros(())
        state, _ = reflex.observe(state, Transition(obs, command, after, jnp.asarray(valid), zero, zero > 1))
    return state


def test_before_the_first_update_it_is_the_frozen_agent(agent):
    """Bit-equal base action; the correction is as small as the last layer's gain makes it."""
    reflex, key = Reflex(agent, EPISODE), jax.random.key(0)
    state, obs = reflex.init(key), jax.random.normal(key, (6,))
    command, _ = reflex.act(state, obs, key)
    np.testing.assert_array_equal(command.base, agent.act(agent.init_memory(1), obs[None], key)[0][0])
    off = np.abs(command.action - command.base).max()
    assert 0 < off < 1e-4
    silent = eqx.tree_at(lambda s: s.controller.weights[-1], state, replace_fn=jnp.zeros_like)
    np.testing.assert_array_equal(reflex.act(silent, obs, key)[0].action, command.base)


def test_controller_begins_as_described():
    controller = Controller(128, 6, ReflexConfig(), key=jax.random.key(0))
    assert [w.shape for w in controller.weights] == [(128, 512), (512, 512), (512, 6)]
    for hidden in controller.weights[:2]:
        assert 0.0170 < np.std(hidden) < 0.0182 and np.abs(hidden).max() <= 0.04  # cut at two sigma of 0.02
    limit = 1e-3 * np.sqrt(6 / (512 + 6))
    assert 0.9 * limit < np.abs(controller.weights[-1]).max() <= limit
    assert not any(bias.any() for bias in controller.biases)


def test_one_step_an_episode_along_the_negated_gradient(agent):
    """Nothing is learned before the end; then one Adam step that moves corrections against the base's gradient."""
    reflex = Reflex(agent, EPISODE, ReflexConfig(learning_rate=1e-3, epsilon=1e-12))
    observations = jax.random.normal(jax.random.key(2), (EPISODE + 1, 6))
    start = reflex.init(jax.random.key(0))
    lived = episode(reflex, start, observations)
    assert eqx.tree_equal(lived.controller, start.controller) and lived.steps == EPISODE
    done = reflex.finish(lived)
    latents = agent.model.encode(observations)
    bases = agent.model.mean_action(latents[:-1])
    np.testing.assert_allclose(lived.latents, latents, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lived.bases, bases, rtol=1e-4, atol=1e-5)
    _, gradient = action_gradient(agent.model, latents, bases, EPISODE, 3, 0.5)
    moved = done.controller(latents[:-1]) - start.controller(latents[:-1])
    assert float(jnp.sum(moved * gradient)) > 0  # the correction goes along g = dL/da0, which is -2 Jᵀe
    step = jnp.abs(done.controller.biases[-1] - start.controller.biases[-1])
    np.testing.assert_allclose(step, 1e-3, rtol=1e-3)
    assert done.steps == 0
    again = reflex.finish(done)
    assert eqx.tree_equal(again.controller, done.controller), "an episode without steps teaches nothing"


def test_steps_across_a_reset_and_bad_ones_are_left_out(agent):
    reflex = Reflex(agent, EPISODE)
    observations = jax.random.normal(jax.random.key(2), (4, 6))
    start = reflex.init(jax.random.key(0))
    for state in (
        episode(reflex, start, observations, valid=False),
        episode(reflex, start, observations * jnp.nan),
    ):
        assert state.steps == 0
        assert eqx.tree_equal(reflex.finish(state).controller, start.controller)


def test_an_episode_that_is_too_long_keeps_what_fits(agent):
    reflex = Reflex(agent, 4)
    observations = jax.random.normal(jax.random.key(2), (9, 6))
    short = reflex.finish(episode(reflex, reflex.init(jax.random.key(0)), observations[:5]))
    long = reflex.finish(episode(reflex, reflex.init(jax.random.key(0)), observations))
    assert eqx.tree_equal(short.controller, long.controller)


def test_corrections_at_the_limit_do_not_wind_up(linear_agent):
    """A dead motor pulls its correction outwards for ever; at the authority limit it must stop growing."""
    agent = linear_agent(lean=0.5)
    config = ReflexConfig(hidden=16, learning_rate=2e-2, epsilon=1e-8, authority=1.0)
    reflex, push, dead = Reflex(agent, EPISODE, config), agent.model.push, jnp.array([0.0, 1.0, 1.0])

    def one_episode(state, key):
        def step(carry, _):
            state, z = carry
            command, state = reflex.act(state, z, key)
            after, zero = z + (command.action * dead) @ push, jnp.zeros(())
            state, _ = reflex.observe(state, Transition(z, command, after, zero < 1, zero, zero > 1))
            return (state, after), command

        z = 0.3 * jax.random.normal(key, (push.shape[1],))
        (state, _), commands = jax.lax.scan(step, (state, z), length=EPISODE)
        raw = state.controller(state.latents[:-1])
        return reflex.finish(state), (commands, raw)

    keys = jax.random.split(jax.random.key(0), 1600)
    _, (commands, raw) = jax.jit(lambda s: jax.lax.scan(one_episode, s, keys))(reflex.init(jax.random.key(1)))
    wanted = np.asarray(commands.base + raw)[-100:, :, 0]
    assert np.abs(commands.action).max() <= 1.0
    assert (np.abs(wanted) >= 1.0).mean() > 0.3, "the limit must be reached"
    assert np.abs(wanted).max() < 2.5, "and not be left far behind: what Adam carries on is bounded"


GAINS = np.array([0.6, 1.4, 0.8])


def test_two_numbers_an_actuator_find_the_gains(linear_agent, live):
    """k -> 1 / g - 1 and b -> 0 on a plant that the model knows."""
    config = ReflexConfig(sees="action", horizon=1, learning_rate=0.01, ridge=1e-3, every=1, window=20)
    life = live(Reflex(linear_agent(), 1200, config), np.diag(GAINS), steps=1200, noise=0.0)
    late = slice(-800, None)  # Adam's steps do not shrink with the error: the gains go around what they should be
    np.testing.assert_allclose(np.asarray(life.states.controller.gain)[late].mean(0), 1 / GAINS - 1, atol=0.1)
    np.testing.assert_allclose(np.asarray(life.states.controller.offset)[late].mean(0), 0.0, atol=0.03)


def test_preconditioning_solves_a_linear_plant_in_one_step(linear_agent):
    """With F linear, gradient = 2 JᵀJ x / d and (JᵀJ)⁻¹ of it points straight at the action that is missing."""
    agent = linear_agent()
    z, base, missing = jnp.zeros((4, 6)), jnp.full((4, ACTIONS), 0.2), jnp.array([0.3, -0.2, 0.1])
    happened = agent.model.predict(z, base - missing)
    latents = jnp.concatenate([z[:1], happened[:1]])
    _, gradient = action_gradient(agent.model, latents, base[:1], 1, 1, 0.5)
    found = precondition(agent.model, z[:1], base[:1], gradient, 1e-6)
    np.testing.assert_allclose(found[0] * latents.shape[-1] / 2, missing, rtol=1e-3)
    assert np.abs(gradient[0] / np.abs(gradient[0]).max() - missing / jnp.abs(missing).max()).max() > 0.05


def test_on_the_way_it_learns_before_the_episode_ends(linear_agent, live):
    config = ReflexConfig(sees="latent and action", horizon=2, every=5, window=10, output_gain=1.0)
    life = live(Reflex(linear_agent(), 60, config), np.diag(GAINS), steps=20)
    weights = np.asarray(life.states.controller.weights[-1])
    assert [t for t in range(1, 20) if not np.array_equal(weights[t], weights[t - 1])] == [4, 9, 14, 19]


def test_bodies_that_learn_at_different_times_do_not_wait_for_each_other():
    """Side by side each gets what it gets alone, whether an answer is due for all of them, for some, or for none."""
    learn = lambda state: {"w": 2 * state["w"], "n": state["n"] + 1}  # noqa: E731
    states = {"w": jnp.arange(3.0), "n": jnp.arange(3)}
    for due in ((True, True, True), (True, False, True), (False, False, False)):
        side_by_side = jax.jit(jax.vmap(lambda d, s: where_due(learn, d, s)))(jnp.array(due), states)
        alone = [where_due(learn, jnp.array(d), {"w": jnp.array(float(i)), "n": i}) for i, d in enumerate(due)]
        wanted = [(2 * i, i + 1) if d else (i, i) for i, d in enumerate(due)]
        assert [(one["w"], one["n"]) for one in alone] == wanted
        assert list(zip(*(side_by_side[name].tolist() for name in ("w", "n")), strict=True)) == wanted
