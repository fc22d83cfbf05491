"""Pretraining of a TD-MPC2 agent: collect, learn, evaluate, log, checkpoint, resume.

Work goes in rounds: every environment lives through one episode's worth of agent steps while the learner does its
updates, several to a dispatch, beside them. How a run is stored and goes on is `rounds`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.spaces import flatdim

from worldshift import envs
from worldshift.agents import tdmpc2
from worldshift.agents.agent import Agent
from worldshift.agents.mppi import PlannerConfig
from worldshift.data.replay import Replay
from worldshift.maths import annealed
from worldshift.models.latent import WorldModel
from worldshift.run.evaluate import evaluate
from worldshift.run.lives import Lives
from worldshift.run.training import side_by_side
from worldshift.run.training.rounds import Asked, Asking, Report, TrainingRun
from worldshift.shifts import Shift, Shifted

_OF_EVALUATION = 1_000_000_000
"""Number of the first draw of a shift that evaluation sees, and training does not."""


@dataclass(frozen=True)
class PretrainConfig:
    """One training run. Everything that a result depends on is here."""

    task: str = "walker-walk"
    shift: str | None = None
    """A shift as JSON that acts all the time. Its random parameters are drawn anew for each body of each round:
    domain randomisation. Evaluation is under draws that stay the same."""
    size: int = 1
    """Model size in millions of parameters: 1, 5, 19, 48 or 317."""
    seed: int = 1
    agent_steps: int = 100_000
    """Decisions collected in all environments together (frames = agent steps x action repeat)."""
    num_envs: int = 4
    updates_per_step: float = 0.5
    """Gradient steps per agent step; TD-MPC2 publishes 1."""
    updates_per_dispatch: int = 20
    episode_steps: int | None = None
    """Agent steps per episode; the task's own length by default."""
    buffer: int = 1_000_000
    eval_every: int = 10_000
    """Agent steps between evaluations (rounded up to whole rounds)."""
    eval_episodes: int = 10
    anneal: float = 0.2
    """Last share of the agent steps over which the learning rates fall linearly to a tenth (0: never)."""
    planner: bool = False
    """Collect and evaluate with MPPI instead of the policy alone."""
    begin_from: str | None = None
    """Directory of another run of the same body to go on from, with its networks and replay: for a second stage with
    other losses. Its agent steps count."""
    learner: tdmpc2.LearnerConfig = field(default_factory=lambda: tdmpc2.LearnerConfig(batch=64, precision="bfloat16"))
    planning: PlannerConfig = field(default_factory=PlannerConfig)

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be worked with."""
        counts = ("agent_steps", "num_envs", "updates_per_dispatch", "buffer", "eval_every", "eval_episodes")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.anneal <= 1:
            raise ValueError(f"anneal is a share of the run, between 0 and 1, not {self.anneal}.")
        if not 0 <= self.updates_per_step < float("inf"):
            raise ValueError(f"updates_per_step must be a number of at least 0, not {self.updates_per_step}.")


def pretrain(
    config: PretrainConfig,
    out: str | os.PathLike[str],
    *,
    resume: bool = True,
    report: Report | None = None,
    stop_after: int | None = None,
) -> Path:
    """Trains an agent and returns the path of its checkpoint, `<out>/agent`.

    Arguments:
        out: run directory: `agent/` (the latest), `best/` (the best evaluated so far), `state/` (what resuming needs)
            and `log.jsonl`.
        resume: continue from `state/` where there is one; its configuration must be the same.
        report: called with (agent steps, log row) after every round; a progress bar, or a metrics writer.
        stop_after: save and leave once this many agent steps are done.

    Raises:
        ValueError: the environment is unusable, or `out` holds a run of another configuration.
    """
    return _Run(config, Path(out), resume).drive(report, stop_after)


def pretrain_seeds(
    config: PretrainConfig, outs: Mapping[int, Path], *, resume: bool = True, report: Report | None = None
) -> None:
    """Trains an agent for each seed in `outs`, into its directory, their updates in one compiled call.

    On a GPU that takes hardly longer than one of them; on a CPU, as long as one after another. The other arguments are
    those of `pretrain`; `report` is told of the first seed's rounds.

    Raises:
        ValueError: as `pretrain`.
    """
    side_by_side.drive([_Run(replace(config, seed=seed), out, resume) for seed, out in outs.items()], report)


class _Run(TrainingRun):
    """A run of TD-MPC2: environments step while the learner updates."""

    def __init__(self, config: PretrainConfig, out: Path, resume: bool):
        super().__init__(config, out)
        self.shift = None if config.shift is None else Shift.from_json(config.shift)
        self.batch = self._bodies(config.num_envs, draws=0)
        self.eval_batch = self._bodies(config.eval_episodes, draws=_OF_EVALUATION)
        first = self.batch.envs[0]
        self.length = self._episode_length(first)
        obs_dim, self.action_dim = flatdim(first.observation_space), flatdim(first.action_space)
        self.discount = config.learner.discount(self.length)
        # Whoever does not say that episodes never terminate gets a model that learns when they do.
        episodic = not first.has_wrapper_attr("episodic") or bool(first.get_wrapper_attr("episodic"))
        self.key = jax.random.key(config.seed)
        model = WorldModel(obs_dim, self.action_dim, size=config.size, episodic=episodic, key=self.key)
        self.state = tdmpc2.init(model, config.learner)
        self.replay = Replay(obs_dim, self.action_dim, config.buffer)
        self.per_round = self.length * config.num_envs
        self.seed_rounds = -(-max(1000, 5 * self.length) // self.per_round)
        begun = resume and (out / "state" / "manifest.json").exists()
        self.begin(resume)
        if config.begin_from is not None and not begun:
            self.take(Path(config.begin_from) / "state")

    def _bodies(self, count: int, draws: int) -> envs.BatchEnv:
        """Bodies side by side; under a random shift each has draws of its own, numbered from `draws` on."""

        def make(number: int) -> gymnasium.Env:
            env = envs.make(self.config.task, episode_steps=self.config.episode_steps)
            return env if self.shift is None else Shifted(env, self.shift, seed=number)

        return envs.BatchEnv([partial(make, draws + i) for i in range(count)])

    def _episode_length(self, env: gymnasium.Env) -> int:
        """Agent steps in an episode; refuses what nothing can be learned from."""
        config, length = self.config, env.get_wrapper_attr("episode_steps")
        if length is None:
            raise ValueError(f"{config.task} does not say how long an episode is: set episode_steps.")
        if length < config.learner.horizon:
            raise ValueError(f"episodes of {length} agent steps are shorter than the horizon {config.learner.horizon}.")
        if config.buffer <= length:
            raise ValueError(f"a buffer of {config.buffer} cannot hold an episode of {length} agent steps: enlarge it.")
        return int(length)

    @property
    def warming(self) -> bool:
        """Random actions, and nothing learned yet."""
        return self.rounds < self.seed_rounds

    def live(self) -> Asking[tuple[dict[str, Any], np.ndarray]]:
        """One episode's worth of steps in every environment, and its updates."""
        if self.shift is not None and self.shift.is_random:  # new bodies: a run that goes on meets the same draws
            self.batch.close()
            self.batch = self._bodies(self.config.num_envs, draws=self.rounds * self.config.num_envs)
        logs, returns = yield from self._collect(explore_at_random=self.warming)
        self.rounds += 1
        if self.rounds == self.seed_rounds:
            logs = yield from self._learn(int(self.agent_steps * self.config.updates_per_step), self.rounds)
        return logs, returns

    def evaluate(self) -> dict[str, float]:
        """Mean actions, or plans; how saturated they are counts too."""
        result = evaluate(self.eval_batch, self._actor(), steps=self.length)
        return {
            "eval_return": float(result.returns.mean()),
            "eval_min": float(result.returns.min()),
            "eval_saturation": result.saturation,
        }

    def save_agent(self, path: Path) -> None:
        """Writes model, policy and planner."""
        self._agent().save(path, asdict(self.config))

    def _collect(self, explore_at_random: bool) -> Asking[tuple[dict[str, Any], np.ndarray]]:
        config, n = self.config, len(self.batch)
        seeds = np.random.SeedSequence([config.seed, self.rounds]).generate_state(n).tolist()
        rng = np.random.default_rng([config.seed, self.rounds, 1])
        lives = Lives(self.batch, self.replay, seeds)
        key = jax.random.fold_in(self.key, self.rounds)
        agent = self._agent()
        memory = agent.init_memory(n)
        logs: dict[str, Any] = {}
        for t in range(self.length):
            due = int(self.owed // config.updates_per_dispatch) * config.updates_per_dispatch
            if due and not explore_at_random:
                # Dispatched now, awaited at the next one: environments step while the update computes.
                agent = self._agent()
                logs = yield from self._learn(due, self.rounds, t)
                self.owed -= due
            if explore_at_random:
                action = rng.uniform(-1, 1, (n, self.action_dim)).astype(np.float32)
            else:
                action, memory = agent.explore(memory, lives.obs, jax.random.fold_in(key, t))
                action = np.asarray(action)
                self.owed += n * config.updates_per_step
            for i in lives.step(action, last=t == self.length - 1):
                memory = agent.reset_memory(memory, i)
        return logs, np.asarray(lives.returns)

    def _learn(self, count: int, *where: int) -> Asking[dict[str, Any]]:
        config = self.config
        rng = np.random.default_rng([config.seed, 2, *where])
        key = jax.random.fold_in(jax.random.fold_in(self.key, 7 + where[0]), where[-1])
        rate = annealed(self.agent_steps / config.agent_steps, config.anneal)
        logs: dict[str, Any] = {}
        for start in range(0, count, config.updates_per_dispatch):
            batches = self.replay.sample(rng, config.learner.batch, config.learner.horizon, config.updates_per_dispatch)
            now, shared = jax.random.fold_in(key, start), (self.discount, config.learner, rate)
            self.state, logs = yield Asked(tdmpc2.update_many, self.state, batches, now, shared)
        return logs

    def _agent(self) -> Agent:
        return Agent(self.state.model, self.config.planning if self.config.planner else None, self.discount)

    def _actor(self) -> Callable[[np.ndarray, int], np.ndarray]:
        agent, key = self._agent(), jax.random.fold_in(self.key, 3)
        memory = [agent.init_memory(self.config.eval_episodes)]

        def act(obs: np.ndarray, t: int) -> np.ndarray:
            action, memory[0] = agent.act(memory[0], obs, jax.random.fold_in(key, t))
            return np.asarray(action)

        return act
