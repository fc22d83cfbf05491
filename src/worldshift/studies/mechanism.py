"""How a reflex works, on one joint of a walker: a page of pictures for a lecture.

RWM's figure 1 (arXiv 2505.15589) as it happens: the reference is where the model says that the base action should lead
(eq. 2), the error is what happened instead (eq. 3), and the correction moves against it. One body, one motor at half of
its strength from one moment on, no start pose chosen.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from worldshift import zoo
from worldshift.adapt.contract import Transition
from worldshift.report.figures import Strand, strands
from worldshift.report.grid import Grid, number
from worldshift.run.online.comparison import seconds_per_step
from worldshift.run.online.methods import build
from worldshift.run.online.protocol import Body, Protocol, make_body, rounded
from worldshift.shifts import Shift
from worldshift.studies.contract import DIGITS, Evidence, Header, Rows, Study, step_seconds

TRACES = ("base", "command", "motor", "reference", "happened", "gain", "truth")
LATE_S = 5.0
"""From so long after onset on, errors are called settled."""


@dataclass(frozen=True)
class MechanismStudy(Study):
    """Traces of one actuator and its joint."""

    name: str
    about: str
    agents: tuple[str, ...]
    methods: tuple[str, ...]
    protocol: Protocol
    shift: Shift
    actuator: int
    channel: int
    """Of the observation: the joint's velocity."""
    seed: int
    shown_s: tuple[float, float] = (-1.0, 4.0)
    """Stretch that is drawn, in s of body time after onset."""

    @property
    def steps(self) -> int:
        """Agent steps of one life."""
        return self.protocol.steps

    def quick(self) -> "MechanismStudy":
        """A shorter life."""
        return replace(self, name=f"{self.name}-quick", protocol=replace(self.protocol, on=160))

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        places = {"actuator": self.actuator, "channel": self.channel, "seed": self.seed}
        return {"protocol": asdict(self.protocol), "shift": self.shift.to_dict(), **places}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """One row: what was asked of the motor, what it did, where that should have led and where it led."""
        shipped = zoo.load(agent)
        protocol = replace(self.protocol, task=shipped.task)
        adapter, model = build(method, shipped, protocol), shipped.calibrated().model
        env = make_body(protocol, self.shift, Body(self.seed, self.seed))
        act, observe = eqx.filter_jit(adapter.act), eqx.filter_jit(adapter.observe)
        expect = eqx.filter_jit(lambda obs, action: obs + model.change(obs, action)[0] * model.change_std)
        key = jax.random.key(self.seed)
        state, obs = adapter.init(key), jnp.asarray(env.reset(seed=self.seed)[0])
        traces: dict[str, list[float]] = {name: [] for name in TRACES}
        for t in range(protocol.steps):
            matrix, _ = env.get_wrapper_attr("action_matrix")()
            command, state = act(state, obs, jax.random.fold_in(key, t))
            after, reward, terminated, _, info = env.step(np.asarray(command.action))
            after = jnp.asarray(after)
            said = Transition(obs, command, after, jnp.array(True), jnp.float32(reward), jnp.array(terminated))
            state, telemetry = observe(state, said)
            values = (
                command.base[self.actuator],
                command.action[self.actuator],
                info["plant_action"][self.actuator],
                expect(obs, command.base)[self.channel],
                after[self.channel],
                telemetry.gain[self.actuator],
                matrix[self.actuator, self.actuator],
            )
            for name, value in zip(TRACES, values, strict=True):
                traces[name].append(float(value))
            obs = after
            report(t + 1)
        env.close()
        row = {name: rounded(trace, DIGITS) for name, trace in traces.items()}
        return [row], {"dt": seconds_per_step(shipped.task)}

    def summaries(self, header: Header, rows: Rows) -> dict[str, dict[str, float]]:
        """Root-mean-square errors of the joint's velocity (rad/s), before the fault, at first, and when settled."""
        dt = step_seconds(header)
        return {row["method"]: self._errors(row, dt) for row in rows}

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """The errors by method."""
        return {"methods": evidence.summaries}

    def _errors(self, row: Mapping[str, Any], dt: float) -> dict[str, float]:
        onset, late = self.protocol.nominal, self.protocol.nominal + round(LATE_S / dt)
        error = np.asarray(row["happened"]) - np.asarray(row["reference"])
        # A body that gets up at the beginning of its life is left out.
        parts = {"before": error[onset // 2 : onset], "first second": error[onset : onset + round(1 / dt)]}
        parts |= {"settled": error[late:]} if late < len(error) else {}
        return {name: float(np.sqrt(np.mean(part**2))) for name, part in parts.items()}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each method."""
        shown, found = ("before", "first second", "settled"), evidence.summaries
        lines = [(m, *(number(errors.get(k), 2) for k in shown)) for m, errors in found.items()]
        return Grid(("method", "error before, rad/s", "in the first second", f"from {LATE_S:.0f} s on"), lines)

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """A column for each method; the same four questions below each other."""
        x = step_seconds(evidence.header) * (np.arange(self.protocol.steps) - self.protocol.nominal)
        shown = (x >= self.shown_s[0]) & (x <= self.shown_s[1])
        columns = {}
        for row in evidence.rows:
            t = {name: np.asarray(row[name], float)[shown] for name in TRACES}
            columns[row["method"]] = [
                ("1. what the motor is asked, and does", {"base action": t["base"], "command": t["command"],
                                                          "at the motor": t["motor"]}),
                ("2. where the base action should lead,\nand where it led (rad/s)", {"reference": t["reference"],
                                                                                     "happened": t["happened"]}),
                ("3. the error (rad/s)", {"error": t["happened"] - t["reference"]}),
                ("4. the motor's strength", {"estimate": t["gain"], "truth": t["truth"]}),
            ]  # fmt: skip
        drawn = {m: [Strand(label, lines) for label, lines in each] for m, each in columns.items()}
        strands(path, x[shown], drawn, title=self.about)
        return True
