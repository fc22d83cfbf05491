"""Pretraining of a TD-MPC2 agent: collect, learn, evaluate, log, checkpoint, resume.

Work goes in rounds: every environment lives through one episode's worth of agent steps while the learner does its
updates, several to a dispatch, beside them. All randomness is a function of (seed, round, step), and a round starts
with fresh resets, so that a run that was killed and resumed equals an uninterrupted one bit by bit.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import flatdim

from worldshift import checkpoint, envs
from worldshift.agents import tdmpc2
from worldshift.agents.agent import Agent
from worldshift.agents.mppi import PlannerConfig
from worldshift.data.replay import Replay
from worldshift.models.latent import WorldModel
from worldshift.run.evaluate import evaluate


@dataclass(frozen=True)
class PretrainConfig:
    """One training run. Everything that a result depends on is here."""

    task: str = "walker-walk"
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


Report = Callable[[int, dict[str, Any]], None]


def saved_steps(out: Path) -> int:
    """Agent steps from which a run in `out` would go on; 0 where nothing was saved."""
    try:
        return int(checkpoint.load(out / "state", kind="training", part="progress")[0]["agent_steps"])
    except (checkpoint.CheckpointError, KeyError):
        return 0


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
    run = _Run(config, Path(out), resume)
    try:
        while run.agent_steps < config.agent_steps:
            row = run.round()
            if report:
                report(run.agent_steps, row)
            if stop_after is not None and run.agent_steps >= stop_after:
                run.save()
                break
    finally:
        run.close()
    return Path(out) / "agent"


class _Run:
    """A training run between two rounds."""

    def __init__(self, config: PretrainConfig, out: Path, resume: bool):
        self.config, self.out = config, out
        make = partial(envs.make, config.task, episode_steps=config.episode_steps)
        self.batch = envs.BatchEnv([make] * config.num_envs)
        self.eval_batch = envs.BatchEnv([make] * config.eval_episodes)
        first = self.batch.envs[0]
        self.length = self._episode_length(first)
        obs_dim, self.action_dim = flatdim(first.observation_space), flatdim(first.action_space)
        self.discount = config.learner.discount(self.length)
        # Whoever does not say that episodes never terminate gets a model that learns when they do.
        episodic = bool(getattr(first, "episodic", True))
        self.key = jax.random.key(config.seed)
        model = WorldModel(obs_dim, self.action_dim, size=config.size, episodic=episodic, key=self.key)
        self.state = tdmpc2.init(model, config.learner)
        self.replay = Replay(obs_dim, self.action_dim, config.buffer)
        self.rounds, self.owed, self.started = 0, 0.0, time.monotonic()
        self.best = -np.inf
        self.per_round = self.length * config.num_envs
        self.seed_rounds = -(-max(1000, 5 * self.length) // self.per_round)
        state = out / "state"
        stored = (state / "manifest.json").exists()
        if resume and stored:
            self._restore(state)
        else:
            out.mkdir(parents=True, exist_ok=True)
            (out / "log.jsonl").unlink(missing_ok=True)
            if stored:
                shutil.rmtree(state)  # or a later resume would continue from the run that this one replaces

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
    def agent_steps(self) -> int:
        return self.rounds * self.per_round

    def round(self) -> dict[str, Any]:
        """One episode's worth of steps in every environment, its updates, and what is due after it."""
        warming = self.rounds < self.seed_rounds
        logs, returns = self._collect(explore_at_random=warming)
        self.rounds += 1
        if self.rounds == self.seed_rounds:
            logs = self._learn(int(self.agent_steps * self.config.updates_per_step), self.rounds)
        row: dict[str, Any] = {
            "agent_steps": self.agent_steps,
            "updates": int(self.state.updates),
            "train_return": float(np.mean(returns)),
            "seconds": round(time.monotonic() - self.started, 1),
        } | {k: float(v) for k, v in logs.items()}
        every = -(-self.config.eval_every // self.per_round)
        done = self.agent_steps >= self.config.agent_steps
        if done or (self.rounds % every == 0 and not warming):
            result = evaluate(self.eval_batch, self._actor(), steps=self.length)
            row |= {
                "eval_return": float(result.returns.mean()),
                "eval_min": float(result.returns.min()),
                "eval_saturation": result.saturation,
            }
            if row["eval_return"] >= self.best:
                self.best = row["eval_return"]
                self._agent().save(self.out / "best", asdict(self.config))
            self._append(row)
            self.save()
        else:
            self._append(row)
        return row

    def _collect(self, explore_at_random: bool) -> tuple[dict[str, Any], np.ndarray]:
        config, n = self.config, len(self.batch)
        seeds = np.random.SeedSequence([config.seed, self.rounds]).generate_state(n)
        rng = np.random.default_rng([config.seed, self.rounds, 1])
        obs = self.batch.reset([int(s) for s in seeds])
        key = jax.random.fold_in(self.key, self.rounds)
        agent = self._agent()
        memory = agent.init_memory(n)
        episodes: list[list[Any]] = [[[obs[i]], [], []] for i in range(n)]
        returns, totals, logs = [], np.zeros(n), {}
        for t in range(self.length):
            due = int(self.owed // config.updates_per_dispatch) * config.updates_per_dispatch
            if due and not explore_at_random:
                # Dispatched now, awaited at the next one: environments step while the update computes.
                agent = self._agent()
                logs = self._learn(due, self.rounds, t)
                self.owed -= due
            if explore_at_random:
                action = rng.uniform(-1, 1, (n, self.action_dim)).astype(np.float32)
            else:
                action, memory = agent.explore(memory, obs, jax.random.fold_in(key, t))
                action = np.asarray(action)
                self.owed += n * config.updates_per_step
            step = self.batch.step(action)
            totals += step.reward
            for i in range(n):
                seen, acted, paid = episodes[i]
                seen.append(step.obs[i])
                acted.append(action[i])
                paid.append(step.reward[i])
                ended = step.terminated[i] or step.truncated[i]
                if ended or t == self.length - 1:
                    self.replay.add(np.stack(seen), np.stack(acted), np.asarray(paid), bool(step.terminated[i]))
                    if ended:  # the round's end cuts the others short
                        returns.append(totals[i])
                    totals[i] = 0.0
                    if t < self.length - 1:
                        step.obs[i] = self.batch.reset([int(seeds[i]) + t + 1], only=[i])[0]
                        memory = agent.reset_memory(memory, i)
                    episodes[i] = [[step.obs[i]], [], []]
            obs = step.obs
        return logs, np.asarray(returns)

    def _learn(self, count: int, *where: int) -> dict[str, Any]:
        config = self.config
        rng = np.random.default_rng([config.seed, 2, *where])
        key = jax.random.fold_in(jax.random.fold_in(self.key, 7 + where[0]), where[-1])
        logs: dict[str, Any] = {}
        for start in range(0, count, config.updates_per_dispatch):
            batches = self.replay.sample(rng, config.learner.batch, config.learner.horizon, config.updates_per_dispatch)
            self.state, logs = tdmpc2.update_many(
                self.state, batches, jax.random.fold_in(key, start), self.discount, config.learner, self._rate()
            )
        return logs

    def _rate(self) -> jax.Array:
        """Factor on the learning rates: 1, then falling to a tenth over the annealed share of the run."""
        left = 1 - self.agent_steps / self.config.agent_steps
        return jnp.clip(left / self.config.anneal, 0.1, 1.0) if self.config.anneal else jnp.ones(())

    def _agent(self) -> Agent:
        return Agent(self.state.model, self.config.planning if self.config.planner else None, self.discount)

    def _actor(self) -> Callable[[np.ndarray, int], np.ndarray]:
        agent, key = self._agent(), jax.random.fold_in(self.key, 3)
        memory = [agent.init_memory(self.config.eval_episodes)]

        def act(obs: np.ndarray, t: int) -> np.ndarray:
            action, memory[0] = agent.act(memory[0], obs, jax.random.fold_in(key, t))
            return np.asarray(action)

        return act

    def _append(self, row: dict[str, Any]) -> None:
        with open(self.out / "log.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")

    def save(self) -> None:
        """Writes what resuming needs, then what adaptation needs: an agent without a state would be a finished run."""
        config = asdict(self.config)
        progress = {
            "rounds": self.rounds,
            "agent_steps": self.agent_steps,
            "owed": self.owed,
            "seconds": time.monotonic() - self.started,
        }
        learner = eqx.filter(self.state, eqx.is_array)
        tree = {"learner": learner, "replay": self.replay.arrays(), "progress": progress}
        checkpoint.save(self.out / "state", tree, kind="training", config=config)
        self._agent().save(self.out / "agent", config)

    def _restore(self, path: Path) -> None:
        stored = checkpoint.read_manifest(path).config
        wanted = json.loads(json.dumps(asdict(self.config)))
        changed = [k for k in wanted if wanted[k] != stored.get(k) and k != "agent_steps"]
        if changed:
            raise ValueError(
                f"{self.out} holds a run with another {' and '.join(changed)}; "
                "choose another output directory, or pass resume=False to start over."
            )
        arrays, static = eqx.partition(self.state, eqx.is_array)
        learner, _ = checkpoint.load(path, like=arrays, kind="training", part="learner")
        replay, _ = checkpoint.load(path, kind="training", part="replay")
        progress, _ = checkpoint.load(path, kind="training", part="progress")
        self.state = eqx.combine(learner, static)
        self.replay.restore(replay)
        self.rounds, self.owed = progress["rounds"], progress["owed"]
        self.started = time.monotonic() - progress["seconds"]
        self._truncate_log()
        rows = map(json.loads, (self.out / "log.jsonl").read_text().splitlines())
        self.best = max((row["eval_return"] for row in rows if "eval_return" in row), default=-np.inf)

    def _truncate_log(self) -> None:
        """Drops the rows of rounds that are going to be lived again, and a last one that was cut short by a crash."""
        log = self.out / "log.jsonl"
        kept = []
        for line in log.read_text().splitlines() if log.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:
                break
            if row["agent_steps"] > self.agent_steps:
                break
            kept.append(line + "\n")
        beside = log.with_suffix(".jsonl.tmp")
        beside.write_text("".join(kept))
        os.replace(beside, log)

    def close(self) -> None:
        self.batch.close()
        self.eval_batch.close()
