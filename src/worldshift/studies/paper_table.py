"""RWM's tables 2 and 4, and its figure 2, as a study: one draw of gains for 75 episodes, on twenty bodies each.

Definitions are the paper's (arXiv 2505.15589, section 5): a method's reward drop is what a run earns less than the
healthy body's, its improvement what it takes off the frozen agent's drop; control errors are treated alike. Curves are
normalised by the frozen and the healthy level of each draw and shown as medians. Fallen bodies are counted apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from worldshift.report.figures import Curve, Panel, over_body_time
from worldshift.report.grid import UNKNOWN, Grid, interval, number, share
from worldshift.report.stats import Estimate
from worldshift.run.online.metrics import Course, bootstrap, bootstrap_ratio, course, trailing
from worldshift.run.online.summary import FALLEN, plain
from worldshift.studies.contract import Evidence, Header, Rows, by_method, complete, step_seconds
from worldshift.studies.lives import LivesStudy, by_body

RESAMPLES = 1000
FELT = 0.01
"""Draws that cost the frozen agent a smaller share of its reward are not in the normalised curves."""
SMOOTHED = 5
"""Episodes of the figure's trailing means."""
ERROR_UNIT = 1e5
"""Control errors are shown in units of 1e-5, the paper's most likely unit: its figure 2 has 2e-4 to 5e-4."""


class Printed(NamedTuple):
    """What the paper prints of one body and method: its improvements on the frozen agent, in %."""

    reward: float
    error: float


PRINTED = {
    "walker-walk": Printed(94.3, 73.6),
    "cheetah-run": Printed(77.8, 47.0),
    "hopper-hop": Printed(70.8, 43.6),
    "cup-catch": Printed(0.0, 77.0),
}
"""The reflex in tables 2 and 4 of the paper, whose walker runs."""


class Line(NamedTuple):
    """One method on one body, while the fault acts."""

    drop: Estimate
    """Reward that an episode earns less than the healthy body's."""
    better: Estimate
    """Share of the frozen agent's drop that is gone."""
    late: Estimate
    """The same over the second half of the phase."""
    error: Estimate
    """Control error, mean squared per dimension of the latent."""
    smaller: Estimate
    """Share of the frozen agent's control error that is gone."""
    fallen: float
    """Share of episodes."""


@dataclass(frozen=True)
class PaperTableStudy(LivesStudy):
    """Lives with one change of gains; every draw has start poses and a controller of its own."""

    paired: bool = True

    def summaries(self, header: Header, rows: Rows) -> dict[str, dict[str, Line]]:
        """By body and method."""
        return {body: self._lines(each) for body, each in self._courses(header, rows).items()}

    def _courses(self, header: Header, rows: Rows) -> dict[str, dict[str, Course]]:
        return {
            body: {
                m: course(own, self.protocol, step_seconds(header, each[0]["agent"]))
                for m, own in by_method(each).items()
            }
            for body, each in by_body(complete(rows)).items()
        }

    def _lines(self, courses: Mapping[str, Course]) -> dict[str, Line]:
        healthy, frozen = courses["nominal"], courses["frozen"]
        draw, steps = frozen.draw, self.protocol.episode_steps
        half = frozen.on["reward"].shape[1] // 2

        def won(own: Course, since: int) -> Estimate:
            paid, least, most = (c.on["reward"][:, since:].sum(1) for c in (own, frozen, healthy))
            return bootstrap_ratio(draw, paid - least, most - least, RESAMPLES)

        def line(own: Course) -> Line:
            drop = (healthy.on["reward"] - own.on["reward"]).mean(1) * steps
            error, worst = (c.on["error"].mean(1) for c in (own, frozen))
            return Line(
                bootstrap(draw, lambda i: float(drop[i].mean()), RESAMPLES),
                won(own, 0),
                won(own, half),
                bootstrap(draw, lambda i: float(error[i].mean()), RESAMPLES),
                bootstrap_ratio(draw, worst - error, worst, RESAMPLES),
                float((own.on["reward"] < FALLEN * healthy.on["reward"].mean()).mean()),
            )

        return {m: line(own) for m, own in courses.items()}

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """Lines by body and method."""
        return {
            "bodies": {b: {m: plain(x._asdict()) for m, x in each.items()} for b, each in evidence.summaries.items()}
        }

    def table(self, evidence: Evidence) -> Grid:
        """A line for each body and method, the paper's improvements beside those of its own mode."""
        header = (
            *("body", "method", f"drop / {self.protocol.episode_steps} steps", "recovered", "in the second half"),
            *("RWM: recovered", "control error, 1e-5", "less of it", "RWM: less of it", "fallen"),
        )
        lines = []
        for body, each in evidence.summaries.items():
            for name, line in each.items():
                reference = name in ("nominal", "frozen")
                theirs = PRINTED.get(body) if name.split(", ")[0] == "paper" else None
                lines.append(
                    (
                        *(body, name, UNKNOWN if name == "nominal" else interval(line.drop, 1)),
                        UNKNOWN if reference else share(line.better),
                        UNKNOWN if reference else share(line.late),
                        f"{theirs.reward:.0f} %" if theirs else UNKNOWN,
                        number(line.error.value * ERROR_UNIT, 1),
                        UNKNOWN if reference else share(line.smaller),
                        f"{theirs.error:.0f} %" if theirs else UNKNOWN,
                        f"{100 * line.fallen:.1f} %",
                    )
                )
        return Grid(header, lines)

    def notes(self, evidence: Evidence) -> list[str]:
        """What the columns are, and how many draws the figure shows."""
        felt = {
            body: f"{int(_felt(each).sum())} of {len(each['frozen'].draw)} on the {body}"
            for body, each in self._courses(evidence.header, evidence.rows).items()
        }
        return [
            "Drop: reward that an episode earns less than the healthy body's; recovered: share of the frozen agent's "
            "drop that is gone, over the whole phase and over its second half; less of it: share of the frozen agent's "
            f"control error that is gone; fallen: episodes below {100 * FALLEN:.0f} % of the healthy body's mean "
            "reward. Brackets: 95 % bootstrap over fault draws. RWM: tables 2 and 4, whose walker runs, and whose "
            "healthy and frozen levels are of other agents.",
            "The figure is normalised draw by draw as the paper's figure 2 (0: the frozen agent's mean, 1: the healthy "
            "body's; errors the other way), medians with 95 % bootstrap intervals, over the draws that cost the frozen "
            f"agent at least {100 * FELT:.0f} % of its reward: {', '.join(felt.values())}.",
        ]

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Normalised rewards and control errors over body time, a column for each body."""
        found = self._courses(evidence.header, evidence.rows)
        over_body_time(path, {body: self._panels(each) for body, each in found.items()}, title=self.about)
        return True

    def _panels(self, courses: Mapping[str, Course]) -> list[Panel]:
        seconds = courses["frozen"].seconds
        x = seconds * np.arange(1, (self.protocol.on + self.protocol.off) // self.protocol.block + 1)
        on, felt = ((0.0, seconds * self.protocol.on / self.protocol.block),), _felt(courses)

        def curves(name: str) -> dict[str, Curve]:
            low, high = (courses[m].on[name].mean(1)[felt] for m in ("frozen", "nominal"))
            if name == "error":
                low, high = high, low
            return {m: _median(x, (_smooth(own, name)[felt] - low[:, None]) / (high - low)[:, None])
                    for m, own in courses.items()}  # fmt: skip

        return [
            Panel("reward, normalised", curves("reward"), limits=(-0.5, 1.5), on=on),
            Panel("control error, normalised", curves("error"), limits=(-0.5, 1.5), on=on),
        ]


def _felt(courses: Mapping[str, Course]) -> np.ndarray:
    """Which draws cost the frozen agent enough to be divided by."""
    healthy, frozen = (courses[m].on["reward"].mean(1) for m in ("nominal", "frozen"))
    return healthy - frozen >= FELT * healthy


def _smooth(own: Course, name: str) -> Float[np.ndarray, "N K"]:
    """Trailing means that do not reach across the fault's end."""
    return np.concatenate([trailing(phase[name], SMOOTHED) for phase in (own.on, own.off)], axis=1)


def _median(x: np.ndarray, values: Float[np.ndarray, "N K"]) -> Curve:
    """Median over draws with its 95 % bootstrap interval."""
    picks = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[picks], axis=1), (0.025, 0.975), axis=0)
    return Curve(x, np.median(values, axis=0), low, high)
