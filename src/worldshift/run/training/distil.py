"""An agent of images from an agent of states, in the simulator: collect what both see, and train the one that sees.

Every round a teacher, a teacher that is disturbed, the student itself (DAgger, arXiv 1011.0686: it learns where its own
mistakes lead) and noise alone each act in a quarter of the environments. A disturbance is an offset on the actions of
an episode and bursts of noise: in a target a body comes to rest where it never does in the source, and there the
student would be blind. How a run is stored and goes on is `rounds`.
"""

import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from gymnasium.spaces import flatdim

from worldshift import checkpoint, zoo
from worldshift.agents import distil as learner
from worldshift.agents.draw_agent import DrawAgent, save_agent
from worldshift.data.replay import Replay
from worldshift.envs import PIXELS, BatchEnv
from worldshift.envs.beside import StateBeside
from worldshift.maths import annealed
from worldshift.models import vision
from worldshift.models.draw import Draw
from worldshift.run import pairs
from worldshift.run.acting import Acting
from worldshift.run.evaluate import evaluate
from worldshift.run.lives import Lives
from worldshift.run.noise import Noise
from worldshift.run.training.rounds import Asked, Asking, Report, TrainingRun, dispatched
from worldshift.shifts import Shift


@dataclass(frozen=True)
class DistilConfig:
    """One training run. Everything that a result depends on is here."""

    teacher: str
    """A DRAW agent of states, shipped or a path; the student's task is the same, seen by its camera."""
    shift: str | None = None
    """A shift that acts all the time, as JSON: for a teacher that was trained under it."""
    collect_shift: str | None = None
    """A shift that acts beside it, but only while frames are collected; as JSON, its random parameters drawn anew for
    each body of each round. An encoder is blind where it never was, and a target is where the source is not."""
    seed: int = 1
    agent_steps: int = 32_000
    """Decisions collected in all environments together."""
    num_envs: int = 16
    length: int = 100
    """Decisions of an episode."""
    updates_per_step: float = 0.125
    """Updates per decision."""
    batch: int = 256
    """Moments of an update."""
    learning_rate: float = 1e-3
    buffer: int = 1_000_000
    eval_every: int = 8_000
    """Decisions between evaluations (rounded up to whole rounds)."""
    eval_episodes: int = 16
    anneal: float = 0.5
    """Last share of the decisions over which the learning rate falls linearly to a tenth."""

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be worked with."""
        for name in ("agent_steps", "num_envs", "length", "batch", "eval_every", "eval_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.anneal <= 1:
            raise ValueError(f"anneal is a share of the run, between 0 and 1, not {self.anneal}.")
        for name in ("updates_per_step", "learning_rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a number of at least 0, not {getattr(self, name)}.")

    @property
    def task(self) -> str:
        """The teacher's, seen by its camera.

        Raises:
            ValueError: there is no such teacher.
        """
        return PIXELS + str(checkpoint.read_manifest(zoo.find(self.teacher)).config["training"]["task"])


def distil(
    config: DistilConfig,
    out: str | os.PathLike[str],
    *,
    resume: bool = True,
    report: Report | None = None,
    stop_after: int | None = None,
) -> Path:
    """Trains an agent of images and returns the path of its checkpoint, `<out>/agent`; arguments as of `pretrain_draw`.

    Raises:
        ValueError: a teacher that cannot teach, images that cannot be drawn here, or `out` holds a run of another
            configuration.
    """
    return _Run(config, Path(out), resume).drive(report, stop_after)


class _Run(TrainingRun):
    """Short episodes first, then their updates."""

    def __init__(self, config: DistilConfig, out: Path, resume: bool):
        super().__init__(config, out)
        self.teacher = zoo.load_dreamer(config.teacher)[0]
        if self.teacher.model.pixels or type(self.teacher.model) is not Draw:
            raise ValueError(f"{config.teacher} cannot teach: take a DRAW agent of states, one without recurrence.")
        given = (config.shift, config.collect_shift)
        shift, more = (None if each is None else Shift.from_json(each) for each in given)
        self.shift = shift + more if shift and more else shift or more
        self.batch = self._bodies(draws=0)
        self.eval_batch = pairs.batch(config.task, shift, config.eval_episodes)
        whole, self.seen = (flatdim(batch.observation_space) for batch in (self.batch, self.eval_batch))
        self.whole_episode = int(self.eval_batch.envs[0].get_wrapper_attr("episode_steps"))
        self.length = min(config.length, self.whole_episode)
        self.per_round = self.length * config.num_envs
        self.key = jax.random.key(config.seed)
        self.state = learner.init(self.teacher.model, self.seen, config.learning_rate, key=self.key)
        self.replay = Replay(whole, self.teacher.model.action_dim, config.buffer, image=vision.PIXELS)
        self.per_dispatch = dispatched(25, whole * config.batch)
        self.begin(resume)

    def _bodies(self, draws: int) -> BatchEnv:
        """Where frames are collected; under a random shift each body has draws of its own, numbered from `draws` on."""
        make = partial(pairs.make, self.config.task, self.shift)
        return BatchEnv([lambda seed=seed: StateBeside(make(draws + seed)) for seed in range(self.config.num_envs)])

    def live(self) -> Asking[tuple[dict[str, Any], np.ndarray]]:
        """One episode in every environment, then its updates."""
        if self.shift is not None and self.shift.is_random:  # new bodies: a run that goes on meets the same draws
            self.batch.close()
            self.batch = self._bodies(draws=self.rounds * self.config.num_envs)
        returns = self._collect()
        self.rounds += 1
        if self.rounds == 1:
            centre, spread = self.replay.spread()
            scale = np.maximum(spread[: self.seen - vision.PIXELS], 1e-2)
            model = self.state.model.standardised(centre[: self.seen], scale)
            self.state = self.state._replace(model=model)
        return (yield from self._learn()), returns

    def evaluate(self) -> dict[str, float]:
        """Whole episodes from images alone, actions sampled."""
        result = evaluate(self.eval_batch, Acting(self.agent(), self.config.seed), steps=self.whole_episode)
        return {"eval_return": float(result.returns.mean()), "eval_min": float(result.returns.min())}

    def save_agent(self, path: Path) -> None:
        """Writes model and policy."""
        save_agent(self.agent(), path, asdict(self.config) | {"task": self.config.task})

    def agent(self) -> DrawAgent:
        """The encoder as it is now under the teacher's policy."""
        return DrawAgent(self.state.model, self.teacher.policy)

    def _collect(self) -> np.ndarray:
        config, n = self.config, len(self.batch)
        seeds = np.random.SeedSequence([config.seed, self.rounds]).generate_state(n).tolist()
        rng = np.random.default_rng([config.seed, self.rounds, 1])
        teacher, student = (Acting(agent, seeds[0]) for agent in (self.teacher, self.agent()))
        noise = Noise((n, self.teacher.model.action_dim), rng)
        lean = rng.uniform(-1, 1, noise.action.shape)
        disturbed, of_student, random = (np.arange(n) % 4 == kind for kind in (1, 2, 3))
        lives = Lives(self.batch, self.replay, seeds)
        for t in range(self.length):
            seen, state = np.split(lives.obs, [self.seen], axis=1)
            shown, own, noisy = teacher(state, t), student(seen, t), noise()
            leaning = np.clip(shown + lean * disturbed[:, None], -1, 1)
            noised = random | disturbed & noise.bursts(t)
            action = np.where(of_student[:, None], own, np.where(noised[:, None], noisy, leaning))
            lives.step(action.astype(np.float32), last=t == self.length - 1)
        return np.asarray(lives.returns)

    def _learn(self) -> Asking[dict[str, Any]]:
        """Brings the updates up to their share of the decisions."""
        config, logs = self.config, {}
        rng = np.random.default_rng([config.seed, self.rounds, 3])
        key = jax.random.fold_in(jax.random.fold_in(self.key, 4), self.rounds)
        due = int(self.agent_steps * config.updates_per_step) - int(self.state.updates)
        rate = annealed(self.agent_steps / config.agent_steps, config.anneal)
        for i in range(due // self.per_dispatch):
            moments = self.replay.sample(rng, config.batch, 0, self.per_dispatch).obs[:, 0]
            now, shared = jax.random.fold_in(key, i), (self.teacher.model, config.learning_rate, rate)
            self.state, logs = yield Asked(learner.update_many, self.state, moments, now, shared)
        return logs
