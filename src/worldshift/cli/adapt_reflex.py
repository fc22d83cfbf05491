"""`worldshift adapt reflex`: a shift acts on an agent, the reflex adapts it online, a table says how well."""

import json
from dataclasses import asdict, dataclass
from math import gcd
from typing import Literal

import tyro

from worldshift import zoo
from worldshift.cli.shared import emit, method_progress, say, shift_from
from worldshift.run.online.comparison import compare, episode_steps
from worldshift.run.online.protocol import Body, Protocol
from worldshift.run.online.show import COMPARISON_LEGEND, comparison
from worldshift.run.online.summary import plain, summarise


@dataclass(frozen=True)
class Reflex:
    """Corrects a frozen agent's actions online, by the tracking error of its world model; no reward is read.

    Stands beside the frozen agent, the healthy body and an oracle.
    """

    agent: tyro.conf.Positional[str]
    """A shipped agent (walker-walk means the best of its seeds) or the directory of a training run."""
    shift: str = "gain"
    """What changes: `gain` (each motor's strength, -50 to +50 %), or a line of JSON with a shift."""
    mode: Literal["layered", "fast", "paper"] = "layered"
    """`fast`: what each motor does, within seconds. `layered`: and a slow network for what no gains express (longer
    legs, wind, motors that mix), and a predictor for commands that arrive late. Both need a calibration. `paper`: as
    published, one step an episode."""
    nominal: int = 400
    """Healthy agent steps before the shift."""
    on: int = 1000
    """Agent steps under the shift."""
    off: int = 0
    """Healthy agent steps after it."""
    bodies: int = 4
    """Bodies side by side, each with a draw of its own where the shift has random parameters."""
    seed: int = 0
    """Of start poses and draws."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Lives through the protocol with every method."""
        if self.nominal < 1 or self.on < 1 or self.off < 0 or self.bodies < 1:
            raise ValueError("nominal, on and bodies must be at least 1, and off at least 0.")
        shift, shipped = shift_from(self.shift), zoo.load(self.agent)
        protocol = Protocol(
            task=shipped.task,
            nominal=self.nominal,
            on=self.on,
            off=self.off,
            episode_steps=(length := episode_steps(shipped)),
            offset=length // 2,
            block=gcd(20, self.nominal, self.on, self.off),
        )
        methods = ("nominal", "frozen", self.mode, "oracle")
        bodies = [Body(fault=self.seed + i, seed=self.seed + i) for i in range(self.bodies)]
        with method_progress(methods, protocol.steps) as report:
            found = compare(shipped, methods, protocol, shift, bodies, seed=self.seed, report=report)
        summaries = summarise(found.rows, protocol, found.dt, ms=found.ms)
        if self.json:
            emit(
                {
                    "agent": shipped.name,
                    "task": shipped.task,
                    "shift": json.loads(shift.to_json()),
                    "protocol": asdict(protocol),
                    "dt": found.dt,
                    "seed": self.seed,
                    "methods": plain(summaries),
                }
            )
        else:
            say().print(comparison(summaries, length).rich())
            say().print(f"[dim]{COMPARISON_LEGEND}[/]")
        return 0
