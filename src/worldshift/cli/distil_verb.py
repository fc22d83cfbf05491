"""`worldshift distil`: a DRAW agent that sees images, from one that reads states."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from worldshift.cli.training import Writer, train
from worldshift.run.training.distil import DistilConfig, distil


@dataclass(frozen=True)
class Verb:
    """Teaches an agent of images what a DRAW agent of states knows, in the simulator, and keeps it in `<out>/agent`.

    It takes minutes where pretraining from images takes hours: model and policy are the teacher's, and only the
    encoder learns. The same command goes on where it was interrupted, at the latest evaluation.
    """

    config: Annotated[DistilConfig, tyro.conf.arg(name="")]
    out: Path | None = None
    """Directory of the run; runs/distil-<task>-<seed> by default."""
    fresh: bool = False
    """Throw away what is in the directory and start over."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Trains, or goes on training."""
        out = self.out or Path("runs") / f"distil-{self.config.task.replace(':', '-')}-{self.config.seed}"

        def run(report: Writer) -> None:
            distil(self.config, out, resume=not self.fresh, report=report)

        return train(self.config, {self.config.seed: out}, run, fresh=self.fresh, json=self.json)
