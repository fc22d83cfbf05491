"""Offline adaptation: what is frozen stays bit-equal, what trains lowers the mismatch, posteriors are computed once."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt import encoded, offline
from worldshift.adapt.offline import OfflineConfig
from worldshift.adapt.residual import Corrected, ResidualConfig
from worldshift.agents import draw
from worldshift.agents.draw_agent import DrawAgent, load_draw, save_agent
from worldshift.agents.imagination import ActorCritic, ActorCriticConfig
from worldshift.models.draw import UNIMIX, Draw, Latent

OBS, ACTIONS, LENGTH = 3, 1, 6
CONFIG = OfflineConfig(
    batch=8,
    length=LENGTH,
    starts=8,
    precision="float32",
    policy=ActorCriticConfig(horizon=3),
    residual=ResidualConfig(width=32),
    learning_rate=3e-3,
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def agent():
    model = Draw(OBS, ACTIONS, key=jax.random.key(1))
    return DrawAgent(model, ActorCritic(model, key=jax.random.key(2)))


@pytest.fixture(scope="module")
def episodes():
    """A body whose observation is pushed by the action."""
    rng, found = np.random.default_rng(0), []
    for _ in range(6):
        action = rng.uniform(-1, 1, (20, ACTIONS)).astype(np.float32)
        obs = np.concatenate([np.zeros((1, OBS)), np.cumsum(action * [[1.0, -0.5, 0.2]], axis=0)])
        found.append((obs.astype(np.float32), action))
    return found


@pytest.fixture(scope="module")
def target(agent, episodes):
    return encoded.observe(agent.model, episodes, LENGTH, keep=True)


def adapted(agent, target, updates=30, **changed):
    config = replace(CONFIG, **changed)
    state = offline.init(agent, config, key=KEY)
    before = offline.held_out(state.dynamics, target, KEY, LENGTH).kl
    state, _ = offline.update_many(state, target, KEY, agent.model, config, updates)
    return state, float(before), float(offline.held_out(state.dynamics, target, KEY, LENGTH).kl)


def test_cached_posteriors_are_the_encoders(agent, target, episodes):
    expected = jnp.concatenate([agent.model.infer(agent.model.embed(jnp.asarray(obs))) for obs, _ in episodes])
    np.testing.assert_allclose(target.log_posterior, expected, rtol=1e-4, atol=1e-5)
    assert len(target.log_posterior) == len(target.action) == 6 * 21


def test_observations_are_kept_only_when_asked_for(agent, target, episodes):
    lean = encoded.observe(agent.model, iter(episodes), LENGTH)
    assert lean.obs is None and encoded.draw_windows(lean, 3, LENGTH, KEY).obs is None
    np.testing.assert_array_equal(lean.log_posterior, target.log_posterior)
    kept, cached = (offline.held_out(agent.model, each, KEY, LENGTH).kl for each in (target, lean))
    assert float(kept) == pytest.approx(float(cached), rel=1e-4)


@pytest.mark.parametrize("start", ["fresh", "warm"])
def test_where_actor_and_critic_start(agent, start):
    state = offline.init(agent, replace(CONFIG, actor=start, critic="warm"), key=KEY)
    assert eqx.tree_equal(state.policy.nets.critic, agent.policy.critic)
    assert eqx.tree_equal(state.policy.slow, agent.policy.critic)
    assert bool(eqx.tree_equal(state.policy.nets.actor, agent.policy.actor)) == (start == "warm")
    fresh = offline.init(agent, replace(CONFIG, critic="fresh"), key=KEY)
    assert not eqx.tree_equal(fresh.policy.nets.critic, agent.policy.critic)


def test_dreams_count_as_the_agents_critic_does(agent, tmp_path):
    """Unless a discount is asked for; and what was adapted, stored and read again still knows."""
    own = eqx.tree_at(lambda a: a.policy, agent, ActorCritic(agent.model, discount=0.9, key=KEY))
    counted = {
        given: offline.init(own, replace(CONFIG, policy=ActorCriticConfig(discount=given)), key=KEY).policy.nets
        for given in (None, 0.97)
    }
    assert counted[None].discount == 0.9 and counted[0.97].discount == 0.97
    assert OfflineConfig().policy.discount is None
    save_agent(DrawAgent(own.model, counted[None]), tmp_path / "agent", {})
    assert load_draw(tmp_path / "agent")[0].policy.discount == 0.9


def test_dreams_start_where_little_is_paid(agent, target, monkeypatch):
    """Of a batch in which one moment in ten is unpaid, most dreams start there; from all alike, one in ten does."""
    count, dreamt = CONFIG.batch * LENGTH, {}
    unpaid = np.arange(count) % 10 == 0
    paid = jnp.asarray(~unpaid, jnp.float32)
    monkeypatch.setattr(Draw, "reward", lambda self, z: paid[: z.size // z.shape[-1]].reshape(z.shape[:-1]))
    monkeypatch.setattr(offline, "pick", lambda latent, n, key, weight: dreamt.update(weight=weight) or latent_of(n))
    latent_of = lambda n: Latent(*[jnp.zeros((n, agent.model.latent_dim))] * 2)  # noqa: E731
    rows = Latent(*[jnp.arange(count, dtype=jnp.float32)[:, None]] * 2)
    windows = encoded.draw_windows(target, CONFIG.batch, LENGTH, KEY)
    for starts_from, share in (("unpaid", 0.55), ("all", 0.1)):
        config = replace(CONFIG, starts_from=starts_from)
        offline.update(offline.init(agent, config, key=KEY), agent.model, windows, KEY, config)
        picked = jax.vmap(draw.pick, (None, None, 0, None))(
            rows, count - 8, jax.random.split(KEY, 200), dreamt["weight"]
        ).z
        assert np.mean(unpaid[np.asarray(picked, int)]) == pytest.approx(share, abs=0.02)


def test_windows_stay_within_an_episode(target, episodes):
    assert len(target.starts) == 6 * (21 - LENGTH + 1)
    windows = encoded.draw_windows(target, 500, LENGTH, KEY)
    assert windows.obs.shape == (LENGTH, 500, OBS) and windows.log_posterior.shape[:2] == (LENGTH, 500)
    moved = np.diff(windows.obs, axis=0)
    np.testing.assert_allclose(moved, windows.action * jnp.asarray([1.0, -0.5, 0.2]), atol=1e-5)
    assert ((np.asarray(target.starts) % 21) + LENGTH <= 21).all()


@pytest.mark.parametrize("trains", ["residual", "replacement", "dynamics", "everything"])
def test_what_trains_lowers_the_mismatch(agent, target, trains):
    _, before, after = adapted(agent, target, trains=trains)
    assert after < 0.9 * before


def test_nothing_but_the_residual_moves(agent, target):
    state, *_ = adapted(agent, target)
    assert isinstance(state.dynamics, Corrected)
    assert eqx.tree_equal(state.dynamics.model, agent.model), "bit by bit"
    assert any(np.abs(np.asarray(x)).max() > 0 for x in jax.tree.leaves(state.dynamics.network.last))


def test_a_finetune_moves_dynamics_and_initial_state_alone(agent, target):
    state, *_ = adapted(agent, target, trains="dynamics")
    where = lambda m: (m.dynamics, m.initial)  # noqa: E731
    assert not eqx.tree_equal(state.dynamics.dynamics, agent.model.dynamics)
    put_back = eqx.tree_at(where, state.dynamics, where(agent.model))
    assert eqx.tree_equal(put_back, agent.model)


def test_a_finetune_of_everything_leaves_the_heads(agent, target):
    """Reward-free data cannot teach what is rewarded, nor when episodes end."""
    state, *_ = adapted(agent, target, trains="everything")
    where = lambda m: (m.encoder, m.posterior, m.dynamics, m.initial, m.decoder)  # noqa: E731
    for mine, theirs in zip(where(state.dynamics)[:3], where(agent.model)[:3], strict=True):
        assert not eqx.tree_equal(mine, theirs)
    assert eqx.tree_equal(eqx.tree_at(where, state.dynamics, where(agent.model)), agent.model)
    assert offline.agent_of(state).model is state.dynamics, "what acts sees with the finetuned encoder"


def test_nothing_trains_where_nothing_should(agent, target):
    state, before, after = adapted(agent, target, trains="nothing")
    assert before == after and eqx.tree_equal(state.dynamics, agent.model)


def test_fresh_and_warm_policies(agent):
    fresh, warm = (offline.init(agent, replace(CONFIG, actor=a), key=KEY).policy for a in ("fresh", "warm"))
    assert eqx.tree_equal(warm.nets, agent.policy) and eqx.tree_equal(warm.slow, agent.policy.critic)
    assert not eqx.tree_equal(fresh.nets, agent.policy)


def test_predictions_by_hand(agent, target):
    """One window, step by step, in NumPy: unimix on both sides, the belief carried without it."""
    model = agent.model
    log_posterior, action, _ = encoded.draw_windows(target, 1, 4, KEY)
    log_prior, latent = offline.predicted(model, log_posterior, action, jax.random.key(5))
    belief = model.first_belief()[None]
    for t in range(3):
        np.testing.assert_allclose(latent.belief[t], belief, rtol=1e-4, atol=1e-6)
        logits = np.asarray(model.grouped(model.predict(Latent(latent.z[t], belief), action[t])), np.float64)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        belief = jnp.asarray(p.reshape(1, -1), jnp.float32)
        np.testing.assert_allclose(np.exp(log_prior[t]), (1 - UNIMIX) * p + UNIMIX / 4, rtol=1e-3, atol=1e-5)


def test_a_model_that_is_right_is_off_by_what_it_expects(agent):
    """Windows that the model dreamt itself; those of another model are further off."""
    rng = np.random.default_rng(1)
    model = eqx.tree_at(lambda m: m.dynamics.last.weight, agent.model, replace_fn=lambda weight: 3 * weight)
    action = rng.uniform(-1, 1, (400, LENGTH - 1, ACTIONS)).astype(np.float32)
    first = model.first(jnp.zeros((400, OBS)), KEY)

    def step(latent, row):
        after = model.advance(latent, *row)
        return after, after.z

    _, z = jax.lax.scan(step, first, (action.swapaxes(0, 1), jax.random.split(KEY, LENGTH - 1)))
    rows = model.grouped(jnp.concatenate([first.z[None], z]).swapaxes(0, 1).reshape(400 * LENGTH, -1))
    seen = encoded.Target(
        jnp.log(jnp.clip(rows, 1e-6, 1 - 3e-6)),
        jnp.asarray(np.pad(action, [(0, 0), (0, 1), (0, 0)]).reshape(-1, ACTIONS)),
        None,
        jnp.arange(400) * LENGTH,
    )
    right = offline.held_out(model, seen, KEY, LENGTH)
    assert float(right.expected) > 1 and float(right.kl) == pytest.approx(float(right.expected), rel=0.03)
    other = eqx.tree_at(lambda m: m.dynamics.last.weight, model, replace_fn=jnp.negative)
    wrong = offline.held_out(other, seen, KEY, LENGTH)
    assert float(wrong.kl) > 1.5 * float(wrong.expected)


def test_the_same_key_gives_the_same_adaptation(agent, target):
    one, two = (adapted(agent, target, updates=5)[0] for _ in range(2))
    assert eqx.tree_equal(one, two)


def test_another_body_is_refused(agent, episodes):
    with pytest.raises(ValueError, match="4 observations and 1 actions, the model 3 and 1"):
        encoded.observe(agent.model, [(np.zeros((9, 4), np.float32), np.zeros((8, 1), np.float32))], LENGTH)
    with pytest.raises(ValueError, match="30 observations in a row"):
        encoded.observe(agent.model, episodes, 30)


def test_some_are_held_out_and_never_all():
    assert encoded.hold_out(20, 0.1, KEY).sum() == 2 and encoded.hold_out(2, 0.9, KEY).sum() == 1
    assert encoded.hold_out(5, 0.0, KEY).sum() == 1
