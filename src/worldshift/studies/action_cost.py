"""Whether an agent has to be trained with a cost on its actions for a reflex to work.

RWM (arXiv 2505.15589, section 5) trains its agents with a thresholded cost, lest saturated actions leave the correction
no gradient and no room. Both are looked at: how large the gradient is that reaches the correction, and what is won back
with commands bounded at twice the policy's range and at the range itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from worldshift import zoo
from worldshift.adapt.bounds import Frozen
from worldshift.adapt.contract import Command, Telemetry, Transition
from worldshift.report.grid import UNKNOWN, Grid, number, seconds, share
from worldshift.run.online.methods import METHODS
from worldshift.run.online.protocol import run_method
from worldshift.studies.contract import Evidence
from worldshift.studies.lives import LivesStudy, body_of

SATURATED = 0.95
"""Size of a base action from which on it counts as saturated."""


class Felt(Frozen):
    """The frozen agent, which says as its score how large a gradient a correction would feel."""

    def observe(self, state: Any, transition: Transition) -> tuple[Any, Telemetry]:
        """The norm of the gradient, in the correction at 0, of half the squared error in the agent's own latent."""
        model = self.agent.model
        here, there = model.encode(transition.obs), model.encode(transition.next_obs)
        error = lambda action: 0.5 * jnp.sum((there - model.predict(here, action)) ** 2)  # noqa: E731
        state, telemetry = super().observe(state, transition)
        return state, telemetry._replace(score=jnp.linalg.norm(jax.grad(error)(transition.command.base)))


@dataclass(frozen=True)
class ActionCostStudy(LivesStudy):
    """Lives of agents that were trained with different costs."""

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """A row for each body, with shares under the fault of saturated base actions and of commands at their bound."""
        bound, on = METHODS[method].authority, self.protocol.on
        at_bound, saturated = np.zeros(len(self.bodies)), np.zeros(len(self.bodies))

        def watch(t: int, envs: list[gymnasium.Env], command: Command) -> None:
            if 0 <= t - self.protocol.nominal < on:
                at_bound[:] += np.mean(np.abs(command.action) > bound - 1e-3, axis=-1)
                saturated[:] += np.mean(np.abs(command.base) > SATURATED, axis=-1)

        rows, info = self._live(agent, method, report, watch)
        for i, row in enumerate(rows):
            row |= {"at_bound": round(at_bound[i] / on, 5), "saturated": round(saturated[i] / on, 5)}
        if method == "frozen":
            shipped, protocol = zoo.load(agent), self.protocol
            felt = run_method(Felt(shipped.agent), replace(protocol, task=shipped.task), self.shift, self.bodies)
            under = slice(protocol.nominal // protocol.block, (protocol.nominal + on) // protocol.block)
            for row, other in zip(rows, felt, strict=True):
                row["gradient"] = float(f"{np.mean(other['score'][under]):.5g}")
        return rows, info

    def table(self, evidence: Evidence) -> Grid:
        """A line for each agent and method."""
        header = ("agent", "method", f"reward / {self.protocol.episode_steps} steps", "recovered", "below 0.25 after")
        lines = []
        for agent, summaries in evidence.summaries.items():
            for method, s in summaries.items():
                rows = [r for r in evidence.rows if r["method"] == method and body_of(r["agent"]) == agent]
                reference = method in ("nominal", "frozen")
                lines.append(
                    (
                        agent,
                        method,
                        number(s.reward * self.protocol.episode_steps, 0),
                        UNKNOWN if reference else share(s.recovery),
                        UNKNOWN if reference else seconds(s.actuation_times["0.25"]),
                        _percent(rows, "saturated"),
                        _percent(rows, "at_bound"),
                        f"{np.mean([r['gradient'] for r in rows]):.2g}" if method == "frozen" else UNKNOWN,
                    )
                )
        return Grid((*header, "base actions saturated", "commands at their bound", "gradient"), lines)


def _percent(rows: list[Mapping[str, Any]], name: str) -> str:
    return f"{100 * np.mean([row[name] for row in rows]):.1f} %"
