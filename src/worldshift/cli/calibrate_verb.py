"""`worldshift calibrate`: minutes on the healthy body, stored beside the agent."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import jax
import tyro

from worldshift import zoo
from worldshift.adapt.calibrate import CalibrationConfig, calibrate, save_calibration
from worldshift.cli.shared import emit, progress, say
from worldshift.run.online.collect import collect


@dataclass(frozen=True)
class Verb:
    """Records healthy bodies under gently excited commands, and learns from them what the fast reflex must know."""

    agent: tyro.conf.Positional[str]
    """A shipped agent or the directory of a training run."""
    bodies: int = 36
    """Bodies recorded side by side; at least 6, so that each kind can be fitted and checked."""
    steps: int = 1500
    """Agent steps of each."""
    seed: int = 0
    """Of start poses, excitation and fit."""
    out: Path | None = None
    """Where to store it; beside the agent by default."""
    config: Annotated[CalibrationConfig, tyro.conf.arg(name="")] = field(default_factory=CalibrationConfig)
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Records, fits, checks, stores."""
        if self.bodies < 6 or self.steps < 100:
            raise ValueError(
                f"a calibration needs at least 6 bodies and 100 steps of each, not {self.bodies} and {self.steps}."
            )
        path, shipped = zoo.find(self.agent), zoo.load(self.agent, calibrated=False)
        out = self.out or zoo.beside(path, "calibration")
        with progress(self.steps, f"recording {self.bodies} healthy bodies") as told:
            recording = collect(
                shipped.agent,
                shipped.task,
                bodies=self.bodies,
                steps=self.steps,
                seed=self.seed,
                report=lambda done: told("recording healthy bodies", done),
            )
        with progress(self.config.updates, "fitting") as told:
            calibration, measured = calibrate(
                shipped.agent,
                recording,
                self.config,
                key=jax.random.key(self.seed),
                report=lambda done: told("fitting the one-step model", done),
            )
        made = {"task": shipped.task, "bodies": self.bodies, "steps": self.steps, "seed": self.seed}
        config = asdict(self.config) | made | {"measured": measured, "agent": zoo.fingerprint(path)}
        save_calibration(out, calibration, config)
        if self.json:
            emit({"agent": shipped.name, **made, **measured, "calibration": str(out)})
        else:
            for name, value in measured.items():
                say().print(f"{name.replace('_', ' '):<20} {value:.4g}")
            say().print(f"stored in {out}", soft_wrap=True)
        return 0
