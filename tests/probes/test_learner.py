"""Probe environments with known answers: what a whole training run must find out, in seconds, from replay to policy.

Each isolates one thing that can be wrong: the value of a constant reward, the action's effect, the observation's,
discounting over a delay, the end of an episode. All share one shape, so that they share one compilation.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from worldshift.agents.agent import Agent, load_agent
from worldshift.agents.mppi import PlannerConfig
from worldshift.agents.tdmpc2 import LearnerConfig
from worldshift.models import latent
from worldshift.models.latent import Size
from worldshift.run.training.pretrain import PretrainConfig, pretrain

GAMMA = 0.5
LENGTH = 12


class Probe(gymnasium.Env):
    """Two observations, one action; truncated by time, which is not an end for the value."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.t = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        self.start()
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward, terminated = self.live(float(action[0]))
        self.t += 1
        return self.observe(), reward, terminated, False, {}

    def start(self) -> None: ...

    def observe(self) -> np.ndarray:
        return np.zeros(2, np.float32)

    def live(self, action: float) -> tuple[float, bool]:
        raise NotImplementedError


class Constant(Probe):
    """Pays 1, always: worth 1 / (1 - gamma) everywhere."""

    def live(self, action: float) -> tuple[float, bool]:
        return 1.0, False


class Action(Probe):
    """Pays for one action, whatever is observed."""

    def live(self, action: float) -> tuple[float, bool]:
        return 1.0 - (action - 0.5) ** 2, False


class Mirror(Probe):
    """Pays for the action that the observation asks for."""

    def start(self) -> None:
        self.asked = float(self.np_random.choice([-1.0, 1.0]))

    def observe(self) -> np.ndarray:
        return np.array([self.asked, 0.0], np.float32)

    def live(self, action: float) -> tuple[float, bool]:
        reward = 1.0 - (action - 0.5 * self.asked) ** 2
        self.start()
        return reward, False


class Delayed(Probe):
    """Two phases in turn; the action of the first is paid in the second, and remembered in the observation."""

    def start(self) -> None:
        self.chosen = 0.0

    def observe(self) -> np.ndarray:
        return np.array([self.t % 2, self.chosen], np.float32)

    def live(self, action: float) -> tuple[float, bool]:
        if self.t % 2 == 0:
            self.chosen = action
            return 0.0, False
        reward = 1.0 - 4 * (self.chosen - 0.5) ** 2
        self.chosen = 0.0
        return reward, False


class Trap(Probe):
    """Living pays 1 a step; a large action pays 1.5 once and ends the episode."""

    def start(self) -> None:
        self.over = 0.0

    def observe(self) -> np.ndarray:
        return np.array([0.0, self.over], np.float32)

    def live(self, action: float) -> tuple[float, bool]:
        self.over = float(action > 0.3)
        return (1.5, True) if self.over else (1.0, False)


class Learned(NamedTuple):
    """A trained agent, and how to ask it."""

    agent: Agent
    rows: list[dict[str, Any]]

    def act(self, obs: list[float]) -> float:
        agent = self.agent
        return float(agent.act(agent.init_memory(1), np.array([obs], np.float32), jax.random.key(0))[0][0, 0])

    def value(self, obs: list[float], action: float) -> float:
        at = jnp.array(obs, jnp.float32), jnp.array([action], jnp.float32)
        return float(np.mean([_value(self.agent.model, head, *at) for head in range(2)]))

    def reward(self, obs: list[float], action: float) -> float:
        return float(_reward(self.agent.model, jnp.array(obs, jnp.float32), jnp.array([action], jnp.float32)))


@jax.jit
def _value(model, head, obs, action):
    return model.q_value(model.q_heads, head, model.encode(obs), action)


@jax.jit
def _reward(model, obs, action):
    return model.reward(model.encode(obs), action)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Learned]]:
    """Trains on a probe as a user would train on an environment of their own."""
    learner = LearnerConfig(
        batch=32, horizon=2, learning_rate=1e-3, tau=0.05, discount_min=GAMMA, discount_max=GAMMA, action_cost="none"
    )

    def run(probe: type[Probe]) -> Learned:
        name = f"worldshift-probe/{probe.__name__}-v0"
        gymnasium.register(name, lambda **_: probe(), max_episode_steps=LENGTH)
        config = PretrainConfig(
            task=f"gym:{name}", size=0, agent_steps=1200, updates_per_step=1.0, eval_every=1200, eval_episodes=2,
            learner=learner,
        )  # fmt: skip
        rows: list[dict[str, Any]] = []
        out = Path(tmp_path_factory.mktemp(probe.__name__))
        agent, _ = load_agent(pretrain(config, out, report=lambda steps, row: rows.append(row)))
        return Learned(agent, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latent.SIZES, 0, Size(32, 32, 16, 2, 2))
        yield run


def test_a_constant_reward_is_worth_its_geometric_sum(train):
    learned = train(Constant)
    for action in (-0.8, 0.0, 0.8):
        assert learned.reward([0, 0], action) == pytest.approx(1.0, abs=0.05)
        assert learned.value([0, 0], action) == pytest.approx(1 / (1 - GAMMA), abs=0.15)


def test_the_action_that_pays_is_found(train):
    learned = train(Action)
    assert learned.act([0, 0]) == pytest.approx(0.5, abs=0.15)
    for action in (-0.8, 0.0, 0.5):
        assert learned.reward([0, 0], action) == pytest.approx(1 - (action - 0.5) ** 2, abs=0.15)
    assert learned.rows[-1]["eval_return"] > LENGTH * (1 - 0.15**2)


def test_the_observation_says_which_action_pays(train):
    learned = train(Mirror)
    assert learned.act([1, 0]) == pytest.approx(0.5, abs=0.2)
    assert learned.act([-1, 0]) == pytest.approx(-0.5, abs=0.2)
    assert learned.reward([1, 0], -0.5) == pytest.approx(0.0, abs=0.2)
    assert learned.reward([-1, 0], -0.5) == pytest.approx(1.0, abs=0.2)


def test_a_delayed_reward_is_discounted_and_still_acted_for(train):
    """The phases are worth gamma V and V, with V = 1 / (1 - gamma^2) for the best first action (0.5)."""
    learned = train(Delayed)
    assert learned.act([0, 0]) == pytest.approx(0.5, abs=0.2)
    first, second = learned.value([0, 0], 0.5), learned.value([1, 0.5], 0.0)
    assert second == pytest.approx(1 / (1 - GAMMA**2), abs=0.35)  # a policy that still varies earns a little less
    assert first == pytest.approx(GAMMA * second, abs=0.1)
    assert learned.value([0, 0], -0.2) < first - 0.5  # in truth 0.98 less


def test_nothing_comes_after_the_end(train):
    """Living on is worth 1 / (1 - gamma) = 2; who takes the 1.5 gets nothing after. Ignoring ends would make it 2.5."""
    learned = train(Trap)
    assert learned.value([0, 0], 0.8) == pytest.approx(1.5, abs=0.2)
    assert learned.value([0, 0], -0.5) == pytest.approx(2.0, abs=0.2)
    assert learned.act([0, 0]) < 0.3
    assert learned.rows[-1]["eval_return"] == LENGTH
    model, z = learned.agent.model, learned.agent.model.encode(jnp.zeros(2))
    ends = [float(model.termination_head(model.predict(z, jnp.array([a])))[0]) for a in (-0.8, 0.0, 0.7, 0.9)]
    assert max(ends[:2]) < 0 < min(ends[2:])

    planner = PlannerConfig(horizon=2, iterations=4, samples=64, policy_samples=8, elites=8)
    planning = Agent(model, planner, GAMMA)
    memory = planning.init_memory(1)
    for seed in range(5):
        action, memory = planning.act(memory, np.zeros((1, 2), np.float32), jax.random.key(seed))
        assert float(action[0, 0]) < 0.35
