"""A trained agent: what it does without and with the planner, what it remembers, and that its checkpoint is itself."""

import json
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift import checkpoint
from worldshift.agents.agent import Agent, load_agent
from worldshift.agents.mppi import PlannerConfig, plan
from worldshift.checkpoint import CheckpointError
from worldshift.models.latent import WorldModel

KEY = jax.random.key(0)
OBS, ACTIONS, N = 5, 2, 3
PLANNER = PlannerConfig(horizon=2, iterations=2, samples=24, policy_samples=4, elites=6)


def drawn(episodic: bool = False) -> WorldModel:
    """A model of size 1 whose every number is drawn: as good as trained, for what is tested here."""
    rng = np.random.default_rng(0)
    shapes = eqx.filter_eval_shape(lambda: WorldModel(OBS, ACTIONS, size=1, episodic=episodic, key=KEY))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.3, size=leaf.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return drawn()


@pytest.fixture(scope="module")
def obs() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(N, OBS)).astype(np.float32)


# Without the planner


def test_it_acts_with_the_mean_of_its_policy(model, obs):
    agent = Agent(model)
    memory = agent.init_memory(N)
    action, after = agent.act(memory, obs, KEY)
    expected = np.asarray(model.mean_action(model.encode(jnp.asarray(obs))))
    np.testing.assert_allclose(np.asarray(action), expected, rtol=1e-4, atol=1e-5)
    again, _ = agent.act(memory, jnp.asarray(obs), jax.random.key(1))
    assert np.array_equal(np.asarray(action), np.asarray(again))  # no chance in it, NumPy or JAX alike
    assert after.shape == memory.shape == (N, 0, ACTIONS)
    assert np.abs(np.asarray(action)).max() <= 1


def test_it_explores_with_samples_of_its_policy(model, obs):
    agent = Agent(model)
    memory = agent.init_memory(N)
    draws = [np.asarray(agent.explore(memory, obs, jax.random.key(seed))[0]) for seed in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    expected = model.policy(model.encode(jnp.asarray(obs)), jax.random.key(1)).action
    np.testing.assert_allclose(draws[0], np.asarray(expected), rtol=1e-3, atol=1e-4)


# With it


def test_it_plans_for_every_environment_and_remembers_the_plan(model, obs):
    agent = Agent(model, PLANNER, 0.9)
    memory = agent.init_memory(N)
    assert memory.shape == (N, PLANNER.horizon, ACTIONS) and not np.asarray(memory).any()
    action, memory = agent.act(memory, obs, KEY)
    action, memory = agent.act(memory, obs, jax.random.key(1))
    z, start = model.encode(jnp.asarray(obs)), agent.init_memory(N)
    for i in range(N):
        mean = start[i]
        for key in (KEY, jax.random.key(1)):
            expected = plan_jit(model, z[i], mean, jax.random.split(key, N)[i])
            mean = expected.mean
        np.testing.assert_allclose(np.asarray(action[i]), np.asarray(expected.action), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(np.asarray(memory[i]), np.asarray(expected.mean), rtol=1e-3, atol=1e-4)
    forgotten = np.asarray(agent.reset_memory(memory, 1))
    assert not forgotten[1].any() and np.array_equal(forgotten[[0, 2]], np.asarray(memory)[[0, 2]])


@eqx.filter_jit
def plan_jit(model, z, mean, key):
    return plan(model, z, mean, key, PLANNER, 0.9)


def test_planning_is_not_the_policy(model, obs):
    with_planner, without = Agent(model, PLANNER, 0.9), Agent(model)
    planned, _ = with_planner.act(with_planner.init_memory(N), obs, KEY)
    direct, _ = without.act(without.init_memory(N), obs, KEY)
    assert not np.allclose(np.asarray(planned), np.asarray(direct), atol=1e-3)


# Checkpoints


@pytest.mark.parametrize("episodic", [False, True])
@pytest.mark.parametrize("planner", [None, PLANNER])
def test_a_saved_agent_is_the_same_agent(tmp_path, episodic, planner):
    agent = Agent(drawn(episodic), planner, 0.9)
    agent.save(tmp_path / "agent", {"size": 1, "task": "walker-walk", "learner": {"batch": 3}}, {"note": "test"})
    loaded, config = load_agent(tmp_path / "agent")
    assert bool(eqx.tree_equal(agent, loaded))
    assert loaded.planner == planner and loaded.discount == 0.9
    assert config["training"] == {"size": 1, "task": "walker-walk", "learner": {"batch": 3}}
    manifest = checkpoint.read_manifest(tmp_path / "agent")
    assert manifest.kind == "agent" and manifest.provenance["note"] == "test"
    assert (manifest.leaves["encoder/hidden/0/linear/weight"].shape) == (OBS, 256)
    assert ("termination_head/last/bias" in manifest.leaves) == episodic


def test_what_it_does_survives_saving(model, obs, tmp_path):
    agent = Agent(model)
    agent.save(tmp_path / "agent", {"size": 1})
    loaded, _ = load_agent(tmp_path / "agent")
    actions = [np.asarray(each.act(each.init_memory(N), obs, KEY)[0]) for each in (agent, loaded)]
    assert actions[0].tobytes() == actions[1].tobytes()


def test_an_agent_without_its_size_is_not_written(model, tmp_path):
    with pytest.raises(ValueError, match=r"must name its model `size`, one of \[1, 5, 19, 48, 317\]"):
        Agent(model).save(tmp_path / "agent", {"task": "walker-walk"})
    assert not list(tmp_path.iterdir())


def test_what_is_not_an_agent_is_refused(model, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_agent(tmp_path / "nowhere")
    checkpoint.save(tmp_path / "state", {"a": np.zeros(2)}, kind="training", config={})
    with pytest.raises(CheckpointError, match="is of kind 'training', but an agent is wanted"):
        load_agent(tmp_path / "state")
    nan = eqx.tree_at(lambda m: m.encoder.last.linear.bias, model, replace_fn=lambda leaf: leaf.at[0].set(jnp.nan))
    with pytest.raises(CheckpointError, match="'encoder/last/linear/bias' holds NaN"):
        replace(Agent(model), model=nan).save(tmp_path / "agent", {"size": 1})
    assert not (tmp_path / "agent").exists()


def test_a_damaged_agent_names_the_file(model, tmp_path):
    Agent(model).save(tmp_path / "agent", {"size": 1})
    (data,) = (tmp_path / "agent").glob("*.safetensors")
    data.write_bytes(data.read_bytes()[:-4] + b"oops")
    with pytest.raises(CheckpointError, match=data.name):
        load_agent(tmp_path / "agent")
    assert json.loads((tmp_path / "agent" / "manifest.json").read_text())["kind"] == "agent"
