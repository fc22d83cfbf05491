"""How large a change of gains may be, beside what theory says about the error that it causes.

The error of one step that gains 1 + p cause is J (p * a0): its square grows with the square of the gains' spread P.
That is what is left of RWM's bound (arXiv 2505.15589, section 4) beside its contraction factor, which never contracts.
"""

from dataclasses import dataclass

import numpy as np

from worldshift.report.grid import number
from worldshift.studies.contract import Evidence
from worldshift.studies.sweeps import SweepStudy


@dataclass(frozen=True)
class MagnitudeStudy(SweepStudy):
    """A sweep over sizes of one kind of change."""

    def notes(self, evidence: Evidence) -> list[str]:
        """And how the frozen agent's excess error grows with the size."""
        slope, fit = self.power(evidence)
        growth = (
            f"What the fault adds to the frozen agent's control error grows with the size to the power of "
            f"{number(slope, 2)} (R² {number(fit, 2)} on logarithmic axes); theory says 2."
        )
        return [*super().notes(evidence), growth]

    def power(self, evidence: Evidence) -> tuple[float, float]:
        """Slope and R² of the frozen agent's excess control error over the size, both on logarithmic axes."""
        found = evidence.summaries
        points = [
            (level.value, 1 / found[level.key]["nominal"].error_ratio - 1)
            for level in self.levels
            if level.key in found and found[level.key]["nominal"].error_ratio < 1
        ]
        if len(points) < 3:
            return np.nan, np.nan
        size, excess = np.log(np.asarray(points, float)).T
        return float(np.polyfit(size, excess, 1)[0]), float(np.corrcoef(size, excess)[0, 1] ** 2)
