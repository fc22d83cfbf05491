"""Pretraining of a DRAW agent in the source: an explorer collects, the model and both policies learn from it.

ReDRAW (arXiv 2504.02252), Plan2Explore (arXiv 2005.05960): every environment lives through one episode, then the
learner does its share of updates. How a run is stored and goes on is `rounds`.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import flatdim
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from worldshift import zoo
from worldshift.agents import draw
from worldshift.agents.draw import DrawConfig
from worldshift.agents.draw_agent import MODELS, DrawAgent, Memory, look, save_agent
from worldshift.agents.imagination import ActorCritic
from worldshift.data.episodes import load_episodes
from worldshift.data.replay import Replay
from worldshift.maths import annealed
from worldshift.models.draw import Draw
from worldshift.run import pairs
from worldshift.run.acting import Acting
from worldshift.run.evaluate import evaluate
from worldshift.run.lives import Lives
from worldshift.run.training import side_by_side
from worldshift.run.training.rounds import Asked, Asking, Report, TrainingRun, dispatched, saved_steps
from worldshift.shifts import Shift

Preset = Literal["tiny", "small", "paper"]
ModelSize = Literal["nano", "tiny", "small", "paper"]


@dataclass(frozen=True)
class PretrainDrawConfig:
    """One training run. Everything that a result depends on is here."""

    task: str = "pendulum-swingup"
    shift: str | None = None
    """A shift that acts all the time, as JSON: an oracle of the target, or with random parameters one draw per body."""
    begin_from: str | None = None
    """A DRAW agent, shipped or a path, whose model and policy training begins with, instead of anew."""
    data: str | None = None
    """A folder of recorded episodes of this task, with rewards: they are in the replay from the beginning."""
    model: Literal["draw", "rssm"] = "draw"
    """The world model: ReDRAW's without recurrence, or DreamerV3's recurrent one (the baseline)."""
    size: ModelSize = "tiny"
    """Model size; `paper` has the published widths, `nano` the latent of `tiny` with layers of half its width."""
    seed: int = 1
    agent_steps: int = 120_000
    """Decisions collected in all environments together."""
    num_envs: int = 8
    updates_per_step: float = 0.0625
    """Updates per decision; ReDRAW publishes 0.5."""
    updates_per_dispatch: int = 50
    """At most; fewer where their observations would be more than a quarter of a gigabyte."""
    random_rounds: int = 2
    """Rounds (an episode in every environment) before anything is learned: of random actions, or after `begin_from` of
    the policies."""
    task_share: float = 0.5
    """Share of the environments in which the task's own policy collects beside the explorer (0: none, as published):
    it meets what its dreams promised."""
    standardise: bool = True
    """Observations in units of their spread during the random rounds, and images relative to the mean one; otherwise as
    they are (as published)."""
    buffer: int = 1_000_000
    eval_every: int = 16_000
    """Decisions between evaluations (rounded up to whole rounds)."""
    eval_episodes: int = 16
    anneal: float = 0.2
    """Last share of the decisions over which the learning rates fall linearly to a tenth (0: never, as published). A
    run that is done goes on where the same command asks for more decisions."""
    learner: DrawConfig = field(default_factory=DrawConfig)

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be worked with."""
        for name in ("agent_steps", "num_envs", "updates_per_dispatch", "random_rounds", "eval_every", "eval_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.task_share <= 1:
            raise ValueError(f"task_share is between 0 and 1, not {self.task_share}.")
        if not 0 <= self.anneal <= 1:
            raise ValueError(f"anneal is a share of the run, between 0 and 1, not {self.anneal}.")
        if not 0 <= self.updates_per_step < float("inf"):
            raise ValueError(f"updates_per_step must be a number of at least 0, not {self.updates_per_step}.")


PRESETS: dict[Preset, PretrainDrawConfig] = {
    "tiny": PretrainDrawConfig(),
    "small": PretrainDrawConfig(size="small"),
    "paper": PretrainDrawConfig(
        size="paper",
        agent_steps=4_500_000,
        num_envs=4,
        updates_per_step=0.5,
        buffer=10_000_000,
        eval_every=50_000,
        eval_episodes=100,
        task_share=0.0,
        standardise=False,
        anneal=0.0,
        learner=draw.PAPER,
    ),
}
"""Sizes, learner and schedule that belong together; `paper` was not trained with yet."""


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
        ValueError: the environment is unusable, `config.data` does not fit it or has no rewards, or `out` holds a run
            of another configuration.
    """
    return _Run(config, Path(out), resume).drive(report, stop_after)


def pretrain_draw_seeds(
    config: PretrainDrawConfig, outs: Mapping[int, Path], *, resume: bool = True, report: Report | None = None
) -> None:
    """Trains an agent for each seed in `outs`, into its directory; what holds for `pretrain.pretrain_seeds` holds here.

    Raises:
        ValueError: as `pretrain_draw`.
    """
    side_by_side.drive([_Run(replace(config, seed=seed), out, resume) for seed, out in outs.items()], report)


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
        pixels = bool(getattr(first.unwrapped, "pixels", False))
        kind = MODELS[config.model]
        model = kind(obs_dim, self.action_dim, size=config.size, episodic=episodic, pixels=pixels, key=self.key)
        self.state = draw.init(model, config.learner, key=jax.random.fold_in(self.key, 1))
        if config.begin_from is not None:
            self._take_over(config.begin_from)
        self.replay = Replay(obs_dim, self.action_dim, config.buffer, image=model.image_dim)
        self.per_round = self.length * config.num_envs
        numbers = obs_dim * config.learner.batch * config.learner.length
        self.per_dispatch = dispatched(config.updates_per_dispatch, numbers)
        if config.data is not None and not (resume and saved_steps(out)):
            self._remember(config.data, obs_dim)
        self.begin(resume)

    def _remember(self, folder: str, obs_dim: int) -> None:
        """Puts what was recorded into the replay."""
        for number, episode in enumerate(load_episodes(folder, pixels=self.state.model.pixels).episodes):
            if episode.reward is None:
                raise ValueError(f"data: episode {number} of {folder} has no rewards; record them, with --rewards.")
            obs = episode.seen
            found, wanted = (obs.shape[1], episode.action.shape[1]), (obs_dim, self.action_dim)
            if found != wanted:
                raise ValueError(
                    f"data: {folder} has {found[0]} observations and {found[1]} actions, the task {wanted[0]} and "
                    f"{wanted[1]}: record it with --task {self.config.task}."
                )
            self.replay.add(obs, episode.action, episode.reward, episode.terminated)

    def _take_over(self, name: str) -> None:
        """Model and task policy of another agent; optimisers and explorer begin anew."""
        agent, state = zoo.load_dreamer(name)[0], self.state
        mine, theirs = (jax.tree.map(jnp.shape, eqx.filter(m, eqx.is_array)) for m in (state.model, agent.model))
        if jax.tree.structure(mine) != jax.tree.structure(theirs) or mine != theirs:
            raise ValueError(f"begin_from: {name} has another body or size than this training.")
        known = agent.policy
        nets = eqx.tree_at(lambda nets: (nets.actor, nets.critic), state.task.nets, (known.actor, known.critic))
        task = state.task._replace(nets=nets, slow=known.critic)
        self.state = state._replace(model=agent.model, task=task, averaged=nets)

    @property
    def warming(self) -> bool:
        """Nothing is learned yet."""
        return self.rounds < self.config.random_rounds

    def live(self) -> Asking[tuple[dict[str, Any], np.ndarray]]:
        """One episode in every environment, then its updates."""
        fresh = self.config.begin_from is None
        returns = self._collect(at_random=self.warming and fresh)
        self.rounds += 1
        if self.config.standardise and fresh and self.rounds == self.config.random_rounds:
            centre, spread = self.replay.spread()
            self.state = self.state._replace(model=self.state.model.standardised(centre, np.maximum(spread, 1e-2)))
        return (yield from self._learn()), returns

    def evaluate(self) -> dict[str, float]:
        """The task's policy, its actions sampled."""
        result = evaluate(self.eval_batch, Acting(self.agent(), self.config.seed), steps=self.length)
        return {"eval_return": float(result.returns.mean()), "eval_min": float(result.returns.min())}

    def save_agent(self, path: Path) -> None:
        """Writes model and policy."""
        save_agent(self.agent(), path, asdict(self.config))

    def agent(self) -> DrawAgent:
        """The encoder as it is now, and the averaged task policy."""
        return DrawAgent(self.state.model, self.state.averaged)

    def _collect(self, at_random: bool) -> np.ndarray:
        config, n = self.config, len(self.batch)
        seeds = np.random.SeedSequence([config.seed, self.rounds]).generate_state(n).tolist()
        rng = np.random.default_rng([config.seed, self.rounds, 1])
        task = self.state.task.nets
        explorer = self.state.explorer.nets if self.state.explorer else task
        exploring = np.arange(n)[:, None] >= round(config.task_share * n)
        key = jax.random.fold_in(jax.random.fold_in(self.key, 2), self.rounds)
        lives, memory, begun = Lives(self.batch, self.replay, seeds), None, None
        for t in range(self.length):
            if at_random:
                action = rng.uniform(-1, 1, (n, self.action_dim)).astype(np.float32)
            else:
                now = jax.random.fold_in(key, t)
                policies = (task, explorer, exploring)
                action, memory = _choose(self.state.model, *policies, memory, lives.obs, now, begun)
                action = np.asarray(action)
            anew = lives.step(action, last=t == self.length - 1)
            begun = np.isin(np.arange(n), anew)[:, None] if anew else None
        return np.asarray(lives.returns)

    def _learn(self) -> Asking[dict[str, Any]]:
        """Brings the updates up to their share of the decisions."""
        config, logs = self.config, {}
        if self.rounds <= config.random_rounds - 1:
            return logs
        rng = np.random.default_rng([config.seed, self.rounds, 3])
        key = jax.random.fold_in(jax.random.fold_in(self.key, 4), self.rounds)
        due = self.agent_steps * config.updates_per_step - int(self.state.updates)
        learner, many = config.learner, self.per_dispatch
        rate = annealed(self.agent_steps / config.agent_steps, config.anneal)
        for i in range(int(due // many)):
            batches = self.replay.sample(rng, learner.batch, learner.length - 1, many)
            now = jax.random.fold_in(key, i)
            self.state, logs = yield Asked(draw.update_many, self.state, batches, now, (learner, rate))
        return logs


@eqx.filter_jit
def _choose(
    model: Draw,
    task: ActorCritic,
    explorer: ActorCritic,
    exploring: Bool[Array | np.ndarray, "N 1"],
    memory: Memory | None,
    obs: Float[Array | np.ndarray, "N O"],
    key: PRNGKeyArray,
    begun: Bool[Array | np.ndarray, "N 1"] | None,
) -> tuple[Float[Array, "N A"], Memory]:
    """Actions of the task's policy, and of the explorer where it is `exploring`."""
    k_see, k_act = jax.random.split(key)
    latent = look(model, memory, jnp.asarray(obs), k_see, begun)
    action = jnp.where(exploring, explorer.act(latent.z, k_act), task.act(latent.z, k_act))
    action = jnp.clip(action, -1, 1)
    return action, Memory(latent, action)
