"""The demo: a shipped walker, motors that change mid-walk, and every online method on the same episodes.

Numbers come from all bodies (one fault, several start poses); film strip and GIF show the first of them, frozen beside
fast. Drawn without OpenGL.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from worldshift.adapt.contract import Command
from worldshift.report import film
from worldshift.report.figures import over_body_time
from worldshift.run.online.comparison import Comparison, Watch, compare, episode_steps
from worldshift.run.online.methods import GAINS
from worldshift.run.online.protocol import Body, Protocol
from worldshift.run.online.show import panels
from worldshift.run.online.summary import Summary, plain, summarise
from worldshift.shifts import Shifted
from worldshift.zoo import Shipped

METHODS = ("nominal", "frozen", "paper", "fast", "layered", "oracle")
FILMED = {"frozen": "#D55E00", "layered": "#0072B2"}
SIZE = (300, 200)
STRIDE = 2
"""Agent steps between two frames."""
STRIP = 8
"""Frames in the strip."""


@dataclass(frozen=True)
class ReflexDemo:
    """What the demo lives through: gains that change 20 s into a life, 45 s of it, and 10 s after."""

    seed: int = 0
    """Of the fault's draw and the start poses."""
    bodies: int = 4
    protocol: Protocol = field(default_factory=lambda: Protocol(nominal=400, on=900, off=200))
    film_s: tuple[float, float] = (-2.0, 14.0)
    """Stretch that is filmed, in s of body time after onset."""

    @classmethod
    def of(cls, shipped: Shipped, seed: int) -> "ReflexDemo":
        """The demo with this agent's own task and episodes."""
        length = episode_steps(shipped)
        return cls(seed, protocol=replace(cls().protocol, task=shipped.task, episode_steps=length, offset=length // 2))

    @property
    def lives(self) -> list[Body]:
        """One fault, several start poses."""
        return [Body(fault=self.seed, seed=100 * self.seed + i) for i in range(self.bodies)]


@dataclass(frozen=True)
class Found:
    """What the demo found, and the files that it wrote."""

    summaries: dict[str, Summary]
    comparison: Comparison
    gains: list[float]
    """What the fault does to each actuator: 1 is healthy."""
    files: list[Path]

    def as_json(self, demo: ReflexDemo, shipped: Shipped) -> dict[str, Any]:
        """Everything as one JSON object."""
        return {
            "agent": shipped.name,
            "task": shipped.task,
            "seed": demo.seed,
            "shift": json.loads(GAINS.to_json()),
            "gains": self.gains,
            "protocol": asdict(demo.protocol),
            "dt": self.comparison.dt,
            "methods": plain(self.summaries),
            "files": [str(path) for path in self.files],
        }


def reflex_demo(
    shipped: Shipped,
    out: Path,
    demo: ReflexDemo = ReflexDemo(),
    *,
    report: Callable[[str, int], None] | None = None,
) -> Found:
    """Runs the demo and writes `reflex.png`, `film.png`, `film.gif` and `numbers.json` into `out`.

    Raises:
        ValueError: the agent has no calibration, or `out` is not a folder.
    """
    shipped.calibrated()
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder for the demo's pictures with --out.")
    out.mkdir(parents=True, exist_ok=True)
    camera = _Camera(demo)
    comparison = compare(
        shipped, METHODS, demo.protocol, GAINS, demo.lives, seed=demo.seed, report=report, watch=camera.watch
    )
    summaries = summarise(comparison.rows, demo.protocol, comparison.dt, ms=comparison.ms)
    shown = panels(comparison.rows, demo.protocol, comparison.dt)
    files = [out / name for name in ("reflex.png", "film.png", "film.gif", "numbers.json")]
    title = f"{shipped.task}: each motor's strength changes at 0 s (fault {demo.seed}, {demo.bodies} bodies)"
    over_body_time(files[0], {shipped.task: shown}, title=title)
    camera.develop(files[1], files[2])
    found = Found(summaries, comparison, camera.gains, files)
    files[3].write_text(json.dumps(found.as_json(demo, shipped), indent=1, allow_nan=False) + "\n")
    return found


class _Camera:
    """Films the first body of the filmed methods around the fault's onset."""

    def __init__(self, demo: ReflexDemo):
        self.demo, self.dt = demo, 0.0
        self.frames: dict[str, list[np.ndarray]] = {}
        self.gains: list[float] = []
        self.view: film.View | None = None

    def watch(self, method: str) -> Watch | None:
        """What `run_method` calls after every step of this method."""
        if method not in FILMED:
            return None
        frames = self.frames.setdefault(method, [])

        def look(t: int, bodies: list[gymnasium.Env], command: Command) -> None:
            body = bodies[0]
            if t == self.demo.protocol.nominal and isinstance(body, Shifted):
                matrix = body.action_matrix()
                self.gains = [round(float(g), 3) for g in np.diagonal(matrix[0])] if matrix else []
            self.dt = float(body.get_wrapper_attr("dt"))
            seconds = (t + 1 - self.demo.protocol.nominal) * self.dt
            begin, end = self.demo.film_s
            if not (begin <= seconds <= end and t % STRIDE == 0):
                return
            model, data = body.get_wrapper_attr("model"), body.get_wrapper_attr("data")
            self.view = self.view or film.view_of(model)
            base, sent = np.asarray(command.base)[0], np.asarray(command.action)[0]
            title = f"{seconds:.0f} s after the fault" if seconds >= 0 else "healthy"
            frames.append(
                film.frame(
                    model, data, size=SIZE, view=self.view, title=title, tint=FILMED[method], action=base,
                    correction=sent - base,
                )
            )  # fmt: skip

        return look

    def develop(self, strip: Path, moving: Path) -> None:
        """Writes the strip and the GIF, in real time."""
        labels = {"frozen": "frozen", "layered": "reflex"}
        rows = {labels[m]: frames for m, frames in self.frames.items()}
        film.gif(rows, moving, fps=1 / (STRIDE * self.dt))
        count = min(len(frames) for frames in rows.values())
        picks = np.linspace(0, count - 1, min(STRIP, count)).round().astype(int)
        film.film_strip({label: [frames[i] for i in picks] for label, frames in rows.items()}, strip)
