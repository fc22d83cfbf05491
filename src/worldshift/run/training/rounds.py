"""What every training run shares: rounds, a log, the best agent so far, a state to go on from, and bit-exact resuming.

All randomness of a run is a function of (seed, round, step), and a round starts with fresh resets, so that a run that
was killed and resumed equals an uninterrupted one bit by bit. What is collected and learned is the subclass's.
"""

import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import numpy as np

from worldshift import checkpoint
from worldshift.data.replay import Replay
from worldshift.envs import BatchEnv
from worldshift.files import held
from worldshift.run.training.journal import Journal

Report = Callable[[int, dict[str, Any]], None]
DISPATCH_BYTES = 2**28
"""Observations that one dispatch of updates is given at most: of images, that is fewer updates."""


def dispatched(most: int, numbers: int) -> int:
    """Updates in one dispatch: at most `most`, fewer where each is given many `numbers` of observations (float32)."""
    return min(most, max(1, DISPATCH_BYTES // (4 * numbers)))


def saved_steps(out: Path) -> int:
    """Agent steps from which a run in `out` would go on; 0 where nothing was saved."""
    try:
        return int(checkpoint.load(out / "state", kind="training", part="progress")[0]["agent_steps"])
    except (checkpoint.CheckpointError, KeyError):
        return 0


class Asked(NamedTuple):
    """A dispatch of updates that a run asks for; it is sent the state after them, and logs."""

    update: Callable[..., tuple[Any, dict[str, Any]]]
    """The learner's `update_many`, of all that follows."""
    state: Any
    batches: Any
    key: Any
    shared: tuple[Any, ...]
    """What is the same for every seed."""


_Outcome = TypeVar("_Outcome")
Asking = Generator[Asked, tuple[Any, dict[str, Any]], _Outcome]
"""What asks for updates on its way to an outcome."""


def answered(asking: Asking[Any], found: tuple[Any, dict[str, Any]]) -> Asked | None:
    """What it asks for next, given what it asked for; None at its end."""
    try:
        return asking.send(found)
    except StopIteration:
        return None


class TrainingRun(ABC):
    """A training run between two rounds.

    In `out` lie `agent/` (the latest), `best/` (the best evaluated so far), `state/` (to go on from) and `log.jsonl`.
    """

    batch: BatchEnv
    eval_batch: BatchEnv
    replay: Replay
    state: Any
    """The learner's: arrays are stored."""
    per_round: int
    """Agent steps that all environments live through together in a round."""

    def __init__(self, config: Any, out: Path):
        self.config, self.out, self.journal = config, out, Journal(out / "log.jsonl")
        self.rounds, self.owed, self.best, self.started = 0, 0.0, -np.inf, time.monotonic()
        self._open = ExitStack()

    @abstractmethod
    def live(self) -> Asking[tuple[Mapping[str, Any], np.ndarray]]:
        """Collects and learns for one round: logs of the last updates, and the returns of finished episodes."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Whole episodes of the agent as it is; `eval_return` is what `best/` goes by."""

    @abstractmethod
    def save_agent(self, path: Path) -> None:
        """Writes the agent as it is."""

    @property
    def agent_steps(self) -> int:
        """Decisions so far."""
        return self.rounds * self.per_round

    @property
    def warming(self) -> bool:
        """Whether it is too early to evaluate."""
        return False

    def begin(self, resume: bool) -> None:
        """Goes on from `state/` where there is one and it is wanted, or begins anew.

        Raises:
            ValueError: `out` holds a run of another configuration, or another process trains there.
        """
        self._open.enter_context(held(self.out))
        try:
            self._begin(resume)
        except BaseException:
            self._open.close()
            raise

    def _begin(self, resume: bool) -> None:
        stored = self.out / "state"
        there = (stored / "manifest.json").exists()
        if resume and there:
            self._check(checkpoint.read_manifest(stored).config)
            self.take(stored)
            rows = self.journal.cut(self.agent_steps)
            self.best = max((row["eval_return"] for row in rows if "eval_return" in row), default=-np.inf)
            return
        self.journal.clear()
        if there:
            shutil.rmtree(stored)  # or a later resume would continue from the run that this one replaces

    def drive(self, report: Report | None, stop_after: int | None) -> Path:
        """Rounds until all agent steps are done, or `stop_after` of them. Returns the path of the agent."""
        try:
            self.alone(self.rounds_until(self.config.agent_steps if stop_after is None else stop_after, report))
            if self.agent_steps < self.config.agent_steps:
                self.save()
        finally:
            self.close()
        return self.out / "agent"

    def alone(self, asking: Asking[None]) -> None:
        """Gives it what it asks for, until it is done."""
        asked = next(asking, None)
        while asked:
            asked = answered(asking, asked.update(asked.state, asked.batches, asked.key, *asked.shared))

    def rounds_until(self, agent_steps: int, report: Report | None) -> Asking[None]:
        """Rounds until that many decisions are done, at most those of the run."""
        while self.agent_steps < min(agent_steps, self.config.agent_steps):
            row = yield from self.round()
            if report:
                report(self.agent_steps, row)

    def close(self) -> None:
        """Closes the bodies, and leaves the directory to others."""
        self.batch.close()
        self.eval_batch.close()
        self._open.close()

    def round(self) -> Asking[dict[str, Any]]:
        """One round, and what is due after it."""
        warming = self.warming
        logs, returns = yield from self.live()
        row: dict[str, Any] = {
            "agent_steps": self.agent_steps,
            "updates": int(self.state.updates),
            **({"train_return": float(np.mean(returns))} if len(returns) else {}),
            "seconds": round(time.monotonic() - self.started, 1),
        } | {name: float(value) for name, value in logs.items()}
        every = -(-self.config.eval_every // self.per_round)
        done = self.agent_steps >= self.config.agent_steps
        due = done or (self.rounds % every == 0 and not warming)
        if due:
            row |= self.evaluate()
            if row["eval_return"] >= self.best:
                self.best = row["eval_return"]
                self.save_agent(self.out / "best")
        self.journal.append(row)
        if due:
            self.save()
        return row

    def save(self) -> None:
        """Writes what resuming needs, then what adaptation needs: an agent without a state would be a finished run."""
        progress = {
            "rounds": self.rounds,
            "agent_steps": self.agent_steps,
            "owed": self.owed,
            "seconds": time.monotonic() - self.started,
        }
        tree = {"learner": eqx.filter(self.state, eqx.is_array), "replay": self.replay.arrays(), "progress": progress}
        checkpoint.save(self.out / "state", tree, kind="training", config=asdict(self.config))
        self.save_agent(self.out / "agent")

    def take(self, path: Path) -> None:
        """Networks, optimisers, replay and progress as they were saved."""
        arrays, static = eqx.partition(self.state, eqx.is_array)
        learner, _ = checkpoint.load(path, like=arrays, kind="training", part="learner")
        replay, _ = checkpoint.load(path, kind="training", part="replay")
        progress, _ = checkpoint.load(path, kind="training", part="progress")
        self.state = eqx.combine(learner, static)
        self.replay.restore(replay)
        self.rounds, self.owed = progress["rounds"], progress["owed"]
        self.started = time.monotonic() - progress["seconds"]

    def _check(self, stored: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(asdict(self.config)))
        changed = [k for k in wanted if wanted[k] != stored.get(k) and k not in ("agent_steps", "anneal")]
        if changed:
            raise ValueError(
                f"{self.out} holds a run with another {' and '.join(changed)}; "
                "choose another output directory, or pass resume=False to start over."
            )
