"""`worldshift pretrain`: a DRAW world model, its task policy and its explorer, trained in the source."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from worldshift.cli.shared import chosen
from worldshift.cli.training import Writer, train
from worldshift.run.pretrain_draw import PRESETS, Preset, PretrainDrawConfig, pretrain_draw


@dataclass(frozen=True)
class Verb:
    """Trains a DRAW agent with Plan2Explore, evaluates it on the way, and keeps it in `<out>/agent`.

    The same command goes on where it was interrupted, at the latest evaluation.
    """

    preset: Preset = "tiny"
    """Network sizes, learner and schedule together: `tiny` trains on two cores, `paper` has the published numbers and
    wants a GPU. Single numbers of it are changed by the other options."""
    config: Annotated[PretrainDrawConfig, tyro.conf.arg(name="")] = field(default_factory=PretrainDrawConfig)
    out: Path | None = None
    """Directory of the run; runs/<model>-<task>-<seed> by default."""
    fresh: bool = False
    """Throw away what is in the directory and start over."""
    json: bool = False
    """Print one JSON object and nothing else."""

    @classmethod
    def defaults(cls, arguments: Sequence[str]) -> "Verb":
        """What the options are where nothing else is said, for the preset that is asked for."""
        asked = chosen("preset", arguments)
        return next((cls(preset=name, config=config) for name, config in PRESETS.items() if name == asked), cls())

    def run(self) -> int:
        """Trains, or goes on training."""
        out = self.out or Path("runs") / f"{self.config.model}-{self.config.task.replace(':', '-')}-{self.config.seed}"

        def run(report: Writer) -> None:
            pretrain_draw(self.config, out, resume=not self.fresh, report=report)

        return train(self.config, out, run, fresh=self.fresh, json=self.json)
