"""What `train` and `pretrain` share: a progress bar that is honest about time, stopping, going on, the last word."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from worldshift.cli.shared import aside, bar_of, emit, say
from worldshift.run.training.journal import Journal
from worldshift.run.training.rounds import saved_steps

Writer = Callable[[int, dict[str, Any]], None]


@runtime_checkable
class Training(Protocol):
    """What a bar needs to know of a run's configuration."""

    @property
    def task(self) -> str: ...
    @property
    def agent_steps(self) -> int: ...
    @property
    def updates_per_step(self) -> float: ...


def directories(name: str, out: Path | None, seed: int, seeds: Sequence[int]) -> dict[int, Path]:
    """Where the run of each seed is kept: of a single one in `out`, of several beside each other."""
    if len(set(seeds)) < len(seeds):
        raise ValueError("seeds: each of them once.")
    several = {seed: Path(f"{out or Path('runs') / name}-{seed}") for seed in seeds}
    return several or {seed: out or Path("runs") / f"{name}-{seed}"}


def refuse_loss(out: Path, fresh: bool) -> None:
    """A trained agent without the state to go on from would be overwritten."""
    finished = (out / "agent" / "manifest.json").is_file() and not (out / "state" / "manifest.json").is_file()
    if finished and not fresh:
        raise ValueError(
            f"{out} holds a finished agent and nothing to go on from: choose another --out, or pass --fresh to "
            "replace it."
        )


def train(
    config: Training,
    outs: Mapping[int, Path],
    run: Callable[[Writer], Any],
    *,
    fresh: bool,
    json: bool,
    write: Writer | None = None,
) -> int:
    """Runs a training beside a bar; says where it goes on when it is interrupted, and what came out at the end.

    `outs` has the directory of each seed.
    """
    for out in outs.values():
        refuse_loss(out, fresh)
    try:
        with TrainingBar(config) as told:
            run(_both(told, write))
    except KeyboardInterrupt:
        steps = max(saved_steps(out) for out in outs.values())
        where = f"from {steps:,} agent steps" if steps else "from the start, as nothing was saved yet"
        aside().print(f"worldshift: stopped; the same command goes on {where}.", soft_wrap=True)
        return 130
    except ValueError as error:
        if "resume=False" not in str(error):
            raise
        raise ValueError(str(error).replace("pass resume=False", "pass --fresh")) from None
    found = [{"agent": str(out / "agent"), "task": config.task, **_last(out)} for out in outs.values()]
    if json:
        emit(found[0] if len(found) == 1 else {"runs": found})
        return 0
    for row in found:
        if "eval_return" in row:
            say().print(
                f"{config.task}: return {row['eval_return']:.0f} (lowest {row['eval_min']:.0f}) after "
                f"{row['agent_steps']:,} agent steps; the agent is in {row['agent']}",
                soft_wrap=True,
            )
    return 0


def _last(out: Path) -> dict[str, Any]:
    """The row of a run's last evaluation."""
    rows = [row for row in Journal(out / "log.jsonl").rows() if "eval_return" in row]
    return rows[-1] if rows else {}


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


class TrainingBar:
    """The progress bar on standard error; as a context it gives the function to report rounds to."""

    def __init__(self, config: Training):
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
