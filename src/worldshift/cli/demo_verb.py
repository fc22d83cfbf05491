"""`worldshift demo`: the one command that shows what this is about."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from worldshift import zoo
from worldshift.cli.shared import emit, method_progress, say
from worldshift.cli.tables import COMPARISON_LEGEND, comparison
from worldshift.run.demo import METHODS, ReflexDemo, reflex_demo


@dataclass(frozen=True)
class Verb:
    """A shipped walker walks, its motors change mid-walk, and every online method meets the same fault."""

    act: tyro.conf.Positional[Literal["reflex"]] = "reflex"
    """`reflex`: online adaptation, within seconds."""
    agent: str = "walker-walk"
    """Another shipped agent, or the directory of a calibrated run of yours."""
    seed: int = ReflexDemo.seed
    """Of the fault's draw and the start poses."""
    out: Path = Path("worldshift-demo")
    """Folder for figure, film strip, GIF and numbers."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Runs the demo, prints its table and says where its pictures are."""
        started = time.monotonic()
        if self.seed < 0:
            raise ValueError(f"a seed is a whole number of at least 0, not {self.seed}.")
        shipped = zoo.load(self.agent)
        demo = ReflexDemo.of(shipped, seed=self.seed)
        with method_progress(METHODS, demo.protocol.steps) as report:
            found = reflex_demo(shipped, self.out, demo, report=report)
        if self.json:
            emit(found.as_json(demo, shipped))
            return 0
        gains = ", ".join(f"{100 * g:.0f}" for g in found.gains)
        out = say()
        out.print(f"{shipped.task}: fault {self.seed} changes the motors' strengths to {gains} % mid-walk.\n")
        out.print(comparison(found.summaries, demo.protocol.episode_steps).rich())
        out.print(f"[dim]{COMPARISON_LEGEND}[/]")
        out.print("[dim]paper mode learns once an episode: its own protocol is `worldshift study paper-gains`.[/]\n")
        for path in found.files:
            out.print(str(path), soft_wrap=True)
        out.print(f"[dim]{time.monotonic() - started:.0f} s[/]")
        return 0
