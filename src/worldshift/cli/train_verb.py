"""`worldshift train`: pretraining of a TD-MPC2 agent."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from worldshift.cli.training import Writer, directories, train
from worldshift.run.training.pretrain import PretrainConfig, pretrain, pretrain_seeds


@dataclass(frozen=True)
class Verb:
    """Trains a TD-MPC2 agent, evaluates it on the way, and keeps it in `<out>/agent`.

    The same command goes on where it was interrupted, at the latest evaluation.
    """

    config: Annotated[PretrainConfig, tyro.conf.arg(name="")] = field(default_factory=PretrainConfig)
    out: Path | None = None
    """Directory of the run; runs/<task>-<seed> by default."""
    seeds: tuple[int, ...] = ()
    """Several at once, instead of --seed, their updates in one compiled call: on a GPU four take less than twice as
    long as one. Each is kept in `<out>-<seed>`."""
    fresh: bool = False
    """Throw away what is in the directory and start over."""
    tensorboard: bool = False
    """Write the curves (of the first seed) to <out>/tensorboard as well (pip install 'worldshift[tensorboard]')."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Trains, or goes on training."""
        config = self.config
        outs = directories(config.task.replace(":", "-"), self.out, config.seed, self.seeds)
        first = next(iter(outs.values()))

        def run(report: Writer) -> None:
            if self.seeds:
                pretrain_seeds(config, outs, resume=not self.fresh, report=report)
            else:
                pretrain(config, first, resume=not self.fresh, report=report)

        write = _tensorboard(first) if self.tensorboard else None
        return train(config, outs, run, fresh=self.fresh, json=self.json, write=write)


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
