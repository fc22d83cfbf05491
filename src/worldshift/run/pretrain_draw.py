"""Pretraining of a DRAW agent in the source: an explorer collects, the model and both policies learn from it.

ReDRAW (arXiv 2504.02252), Plan2Explore (arXiv 2005.05960): every environment lives through one episode, then the
learner does its share of updates. How a run is stored and goes on is `rounds`.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from gymnasium.spaces import flatdim

from worldshift.agents import draw
from worldshift.agents.draw import DrawAgent, DrawConfig
from worldshift.data.replay import Replay
from worldshift.models.draw import Draw
from worldshift.run import pairs
from worldshift.run.appraisal import acting
from worldshift.run.evaluate import evaluate
from worldshift.run.rounds import Lives, Report, TrainingRun
from worldshift.shifts import Shift

Preset = Literal["tiny", "small", "paper"]


@dataclass(frozen=True)
class PretrainDrawConfig:
    """One training run. Everything that a result depends on is here."""

    task: str = "pendulum-swingup"
    shift: str | None = None
    """A shift that acts all the time, as JSON: an oracle of the target, or with random parameters one draw per body."""
    size: Preset = "tiny"
    """Model size; `paper` has the published widths."""
    seed: int = 1
    agent_steps: int = 120_000
    """Decisions collected in all environments together."""
    num_envs: int = 8
    updates_per_step: float = 0.0625
    """Updates per decision; ReDRAW publishes 0.5."""
    updates_per_dispatch: int = 50
    random_rounds: int = 2
    """Rounds (an episode in every environment) of random actions before anything is learned."""
    buffer: int = 1_000_000
    eval_every: int = 16_000
    """Decisions between evaluations (rounded up to whole rounds)."""
    eval_episodes: int = 16
    learner: DrawConfig = field(default_factory=DrawConfig)

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be worked with."""
        for name in ("agent_steps", "num_envs", "updates_per_dispatch", "random_rounds", "eval_every", "eval_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.updates_per_step < float("inf"):
            raise ValueError(f"updates_per_step must be a number of at least 0, not {self.updates_per_step}.")


PRESETS: dict[Preset, PretrainDrawConfig] = {
    "tiny": PretrainDrawConfig(),
    "small": PretrainDrawConfig(
        size="small", learner=DrawConfig(learning_rate=4e-4, free_nats=0.25, starts=256, ensemble_units=128)
    ),
    "paper": PretrainDrawConfig(
        size="paper",
        agent_steps=4_500_000,
        num_envs=4,
        updates_per_step=0.5,
        buffer=10_000_000,
        eval_every=50_000,
        eval_episodes=100,
        learner=draw.PAPER,
    ),
}
"""Sizes, learner and schedule that belong together; only `tiny` was trained with yet."""


def pretrain_draw(
    config: PretrainDrawConfig,
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
        report: called with (decisions, log row) after every round.
        stop_after: save and leave once this many decisions are done.

    Raises:
        ValueError: the environment is unusable, or `out` holds a run of another configuration.
    """
    return _Run(config, Path(out), resume).drive(report, stop_after)


class _Run(TrainingRun):
    """A run of DRAW: whole episodes first, then their updates."""

    def __init__(self, config: PretrainDrawConfig, out: Path, resume: bool):
        super().__init__(config, out)
        shift = None if config.shift is None else Shift.from_json(config.shift)
        self.batch = pairs.batch(config.task, shift, config.num_envs)
        self.eval_batch = pairs.batch(config.task, shift, config.eval_episodes)
        first = self.batch.envs[0]
        self.length = int(first.get_wrapper_attr("episode_steps"))
        if self.length + 1 < config.learner.length:
            raise ValueError(f"episodes of {self.length} steps are shorter than windows of {config.learner.length}.")
        obs_dim, self.action_dim = flatdim(first.observation_space), flatdim(first.action_space)
        self.key = jax.random.key(config.seed)
        episodic = bool(getattr(first.unwrapped, "episodic", True))
        model = Draw(obs_dim, self.action_dim, size=config.size, episodic=episodic, key=self.key)
        self.state = draw.init(model, config.learner, key=jax.random.fold_in(self.key, 1))
        self.replay = Replay(obs_dim, self.action_dim, config.buffer)
        self.per_round = self.length * config.num_envs
        self.begin(resume)

    @property
    def warming(self) -> bool:
        """Random actions."""
        return self.rounds < self.config.random_rounds

    def live(self) -> tuple[dict[str, Any], np.ndarray]:
        """One episode in every environment, then its updates."""
        returns = self._collect(explore_at_random=self.warming)
        self.rounds += 1
        return self._learn(), returns

    def evaluate(self) -> dict[str, float]:
        """The task's policy, its actions sampled."""
        result = evaluate(self.eval_batch, acting(self.agent(), self.config.seed), steps=self.length)
        return {"eval_return": float(result.returns.mean()), "eval_min": float(result.returns.min())}

    def save_agent(self, path: Path) -> None:
        """Writes model and policy."""
        draw.save_agent(self.agent(), path, asdict(self.config))

    def agent(self) -> DrawAgent:
        """Encoder and task policy as they are now."""
        return DrawAgent(self.state.model, self.state.task.nets)

    def _collect(self, explore_at_random: bool) -> np.ndarray:
        config, n = self.config, len(self.batch)
        seeds = np.random.SeedSequence([config.seed, self.rounds]).generate_state(n).tolist()
        rng = np.random.default_rng([config.seed, self.rounds, 1])
        collector = DrawAgent(self.state.model, (self.state.explorer or self.state.task).nets)
        key = jax.random.fold_in(jax.random.fold_in(self.key, 2), self.rounds)
        lives = Lives(self.batch, self.replay, seeds)
        for t in range(self.length):
            if explore_at_random:
                action = rng.uniform(-1, 1, (n, self.action_dim)).astype(np.float32)
            else:
                action = np.asarray(collector.act(lives.obs, jax.random.fold_in(key, t)))
            lives.step(action, last=t == self.length - 1)
        return np.asarray(lives.returns)

    def _learn(self) -> dict[str, Any]:
        """Brings the updates up to their share of the decisions."""
        config, logs = self.config, {}
        if self.rounds <= config.random_rounds - 1:
            return logs
        rng = np.random.default_rng([config.seed, self.rounds, 3])
        key = jax.random.fold_in(jax.random.fold_in(self.key, 4), self.rounds)
        due = self.agent_steps * config.updates_per_step - int(self.state.updates)
        for i in range(int(due // config.updates_per_dispatch)):
            learner, many = config.learner, config.updates_per_dispatch
            batches = self.replay.sample(rng, learner.batch, learner.length - 1, many)
            self.state, logs = draw.update_many(self.state, batches, jax.random.fold_in(key, i), learner)
        return logs
