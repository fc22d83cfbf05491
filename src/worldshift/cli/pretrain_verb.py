"""`worldshift pretrain`: a DRAW world model, its task policy and its explorer, trained in the source."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from worldshift.cli.shared import chosen
from worldshift.cli.training import Writer, directories, train
from worldshift.run.training.pretrain_draw import (
    PRESETS,
    Preset,
    PretrainDrawConfig,
    pretrain_draw,
    pretrain_draw_seeds,
)


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
    seeds: tuple[int, ...] = ()
    """Several at once, instead of --seed, their updates in one compiled call: on a GPU four take less than twice as
    long as one. Each is kept in `<out>-<seed>`."""
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
        config = self.config
        outs = directories(f"{config.model}-{config.task.replace(':', '-')}", self.out, config.seed, self.seeds)

        def run(report: Writer) -> None:
            if self.seeds:
                pretrain_draw_seeds(config, outs, resume=not self.fresh, report=report)
            else:
                pretrain_draw(config, next(iter(outs.values())), resume=not self.fresh, report=report)

        return train(config, outs, run, fresh=self.fresh, json=self.json)
