"""`worldshift train`: pretraining with a progress bar that is honest about how long it will take."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from worldshift.cli.shared import aside, bar_of, emit, say
from worldshift.run.pretrain import PretrainConfig, pretrain, saved_steps

Writer = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True)
class Verb:
    """Trains a TD-MPC2 agent, evaluates it on the way, and keeps it in `<out>/agent`.

    The same command goes on where it was interrupted, at the latest evaluation.
    """

    config: Annotated[PretrainConfig, tyro.conf.arg(name="")] = field(default_factory=PretrainConfig)
    out: Path | None = None
    """Directory of the run; runs/<task>-<seed> by default."""
    fresh: bool = False
    """Throw away what is in the directory and start over."""
    tensorboard: bool = False
    """Write the curves to <out>/tensorboard as well (pip install 'worldshift[tensorboard]')."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Trains, or goes on training."""
        out = self.out or Path("runs") / f"{self.config.task.replace(':', '-')}-{self.config.seed}"
        self._refuse_loss(out)
        write = _tensorboard(out) if self.tensorboard else None
        try:
            with _bar(self.config) as told:
                pretrain(self.config, out, resume=not self.fresh, report=_both(told, write))
        except KeyboardInterrupt:
            return self._interrupted(out)
        except ValueError as error:
            if "resume=False" not in str(error):
                raise
            raise ValueError(str(error).replace("pass resume=False", "pass --fresh")) from None
        self._report(out)
        return 0

    def _refuse_loss(self, out: Path) -> None:
        """A trained agent without the state to go on from would be overwritten."""
        finished = (out / "agent" / "manifest.json").is_file() and not (out / "state" / "manifest.json").is_file()
        if finished and not self.fresh:
            raise ValueError(
                f"{out} holds a finished agent and nothing to go on from: choose another --out, or pass --fresh to "
                "replace it."
            )

    def _interrupted(self, out: Path) -> int:
        saved = saved_steps(out)
        where = f"from {saved:,} agent steps" if saved else "from the start, as nothing was saved yet"
        aside().print(f"worldshift: stopped; the same command goes on {where}.", soft_wrap=True)
        return 130

    def _report(self, out: Path) -> None:
        row = _last(out, "eval_return") or {}
        found = {"agent": str(out / "agent"), "task": self.config.task, **row}
        if self.json:
            emit(found)
        elif row:
            say().print(
                f"{self.config.task}: return {row['eval_return']:.0f} (lowest {row['eval_min']:.0f}) after "
                f"{row['agent_steps']:,} agent steps; the agent is in {out / 'agent'}",
                soft_wrap=True,
            )


@dataclass
class Pace:
    """Remaining time, learned from the rounds that update.

    Collecting before the first update is quick and says nothing about what follows, and the first round with updates
    pays for compilation; so the clock starts at that round's end, and until the next one there is no estimate.
    """

    total_updates: float
    total_steps: int
    seen: list[tuple[float, float]] = field(default_factory=list)
    """(work done, clock in s) at the end of each round that updated."""
    window: int = 20
    """Rounds that count, so that the estimate follows a machine that gets busier; evaluations are among them."""

    def tell(self, agent_steps: int, updates: int, clock: float) -> None:
        """A round has ended."""
        if updates > 0 or self.total_updates == 0:
            self.seen.append((updates if self.total_updates else agent_steps, clock))

    def remaining(self) -> float | None:
        """Seconds, or None where it is too early to say."""
        recent = self.seen[-self.window - 1 :]
        if len(recent) < 2 or recent[-1][0] <= recent[0][0]:
            return None
        rate = (recent[-1][1] - recent[0][1]) / (recent[-1][0] - recent[0][0])
        return max(0.0, ((self.total_updates or self.total_steps) - recent[-1][0]) * rate)


class _bar:
    """The progress bar on standard error; as a context it gives the function to report rounds to."""

    def __init__(self, config: PretrainConfig):
        self.config = config
        self.pace = Pace(config.updates_per_step * config.agent_steps, config.agent_steps)
        columns = (
            *(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()),
            *(TextColumn("{task.fields[left]}"), TextColumn("{task.fields[score]}")),
        )
        self.progress = bar_of(*columns)
        self.task = self.progress.add_task(
            f"0 of {config.agent_steps:,} steps", total=config.agent_steps, left="warming up", score=""
        )

    def __enter__(self) -> Writer:
        self.progress.start()
        return self.told

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def told(self, agent_steps: int, row: dict[str, Any]) -> None:
        """One round more."""
        self.pace.tell(agent_steps, row["updates"], time.monotonic())
        left = self.pace.remaining()
        words = "measuring the pace" if left is None else f"{_clock(left)} left"
        fields: dict[str, Any] = {"left": words} | (
            {"score": f"return {row['eval_return']:.0f}"} if "eval_return" in row else {}
        )
        done = min(agent_steps, self.config.agent_steps)
        self.progress.update(
            self.task, completed=done, description=f"{done:,} of {self.config.agent_steps:,} steps", **fields
        )


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes == 0:
        return "less than a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _both(told: Writer, write: Writer | None) -> Writer:
    def report(agent_steps: int, row: dict[str, Any]) -> None:
        told(agent_steps, row)
        if write:
            write(agent_steps, row)

    return report


def _tensorboard(out: Path) -> Writer:
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("TensorBoard's writer is not installed: pip install 'worldshift[tensorboard]'.") from None
    writer = SummaryWriter(str(out / "tensorboard"))

    def write(agent_steps: int, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "agent_steps":
                writer.add_scalar(name, value, agent_steps)
        writer.flush()

    return write


def _last(out: Path, name: str) -> dict[str, Any] | None:
    """The latest row of the log that has this entry."""
    log = out / "log.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return next((row for row in reversed(rows) if name in row), None)
