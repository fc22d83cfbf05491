"""`worldshift demo`: the one command that shows what this is about."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from worldshift import zoo
from worldshift.cli.shared import emit, method_progress, progress, say
from worldshift.report.grid import Grid, number
from worldshift.run.offline.demo import ResidualDemo, residual_demo
from worldshift.run.online.demo import METHODS, ReflexDemo, reflex_demo
from worldshift.run.online.show import COMPARISON_LEGEND, comparison

AGENTS = {"reflex": "walker-walk", "residual": "draw-pendulum-swingup"}


@dataclass(frozen=True)
class Verb:
    """Two acts: a walker whose motors change mid-walk, and a simulator that was wrong."""

    act: tyro.conf.Positional[Literal["reflex", "residual"]] = "reflex"
    """`reflex`: online adaptation within seconds, every method on the same fault; `residual`: offline adaptation of a
    world model and its policy from recorded data without rewards, one minute."""
    agent: str | None = None
    """Another shipped agent, or the directory of a run of yours (calibrated, for the reflex; trained for the source of
    one of the pairs, for the residual)."""
    seed: int = ReflexDemo.seed
    """Of the fault's draw and the start poses, or of data and networks."""
    out: Path = Path("worldshift-demo")
    """Folder for figures, films and numbers."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Runs the demo, prints its table and says where its pictures are."""
        started = time.monotonic()
        if self.seed < 0:
            raise ValueError(f"a seed is a whole number of at least 0, not {self.seed}.")
        agent = self.agent or AGENTS[self.act]
        files = self._reflex(agent) if self.act == "reflex" else self._residual(agent)
        if not self.json:
            for path in files:
                say().print(str(path), soft_wrap=True)
            say().print(f"[dim]{time.monotonic() - started:.0f} s[/]")
        return 0

    def _reflex(self, agent: str) -> list[Path]:
        shipped = zoo.load(agent)
        demo = ReflexDemo.of(shipped, seed=self.seed)
        with method_progress(METHODS, demo.protocol.steps) as report:
            found = reflex_demo(shipped, self.out, demo, report=report)
        if self.json:
            emit(found.as_json(demo, shipped))
            return found.files
        gains = ", ".join(f"{100 * g:.0f}" for g in found.gains)
        out = say()
        out.print(f"{shipped.task}: fault {self.seed} changes the motors' strengths to {gains} % mid-walk.\n")
        out.print(comparison(found.summaries, demo.protocol.episode_steps).rich())
        out.print(f"[dim]{COMPARISON_LEGEND}[/]")
        out.print("[dim]paper mode learns once an episode: its own protocol is `worldshift study paper-table`.[/]\n")
        return found.files

    def _residual(self, agent: str) -> list[Path]:
        demo = ResidualDemo(seed=self.seed)
        with progress(demo.updates, "recording the target") as told:
            found = residual_demo(agent, self.out, demo, report=told)
        if self.json:
            emit(found.as_json(agent, demo))
            return found.files
        first, last = (row["held_out_kl"] for row in (found.curve[0], found.curve[-1]))
        errors = {"zero-shot": first, "residual": last}
        rows = [
            (name, *(number(r[k], 0) for k in ("mean", "std", "min", "read")), number(errors.get(name), 2))
            for name, r in found.returns.items()
        ]
        out = say()
        out.print(f"{agent}: {found.transitions:,} transitions recorded in the target, without rewards.\n")
        header = ("method", "return in the target", "std", "lowest", "as its model reads it", "held-out error (nats)")
        out.print(Grid(header, rows).rich())
        out.print(
            f"[dim]{demo.episodes} episodes each, 500 is the most there is; oracle: trained in the target; what a "
            "model reads needs no reward.[/]\n"
        )
        return found.files
