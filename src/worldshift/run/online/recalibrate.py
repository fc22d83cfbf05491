"""Calibrations of a shipped agent that studies make anew: with errors measured elsewhere, or as it acts with a planner.

RWM (arXiv 2505.15589) measures errors in the latent of the agent, whose encoder was trained to predict. Whether that is
what matters is asked by refitting a one-step model in that latent, in that of an encoder that was never trained, and
in the observation itself: the same recorded steps, the same network behind, the same updates.
"""

from functools import lru_cache
from pathlib import Path

import jax

from worldshift import zoo
from worldshift.adapt.calibrate import CalibrationConfig, Recording, calibrate
from worldshift.adapt.fast_reflex import Calibration
from worldshift.agents.agent import Agent
from worldshift.agents.mppi import PlannerConfig
from worldshift.models.latent import WorldModel
from worldshift.nn import MLP
from worldshift.run.online.collect import collect

SPACES = {
    "fitted latent": "the agent's latent, with dynamics fitted anew",
    "random latent": "the latent of an encoder that was never trained",
    "raw observation": "the observation itself",
}


LENIENT = CalibrationConfig(tolerance=float("inf"))
"""That estimates are off in a poor space is part of what is compared, and no reason to stop."""


@lru_cache(maxsize=len(SPACES))
def calibrated_in(
    space: str, agent: Path, *, bodies: int = 36, steps: int = 1500, config: CalibrationConfig = LENIENT
) -> Calibration:
    """The calibration of an agent, by its checkpoint, with errors measured in a space; kept for the next who asks.

    Raises:
        KeyError: no such space.
    """
    shipped = zoo.load(agent, calibrated=False)
    recording, encoder = _healthy(agent, bodies, steps), _encoder(space, shipped.agent.model)
    found, _ = calibrate(shipped.agent, recording, config, encoder=encoder, key=jax.random.key(0))
    return found


@lru_cache(maxsize=1)
def calibrated_with(
    planner: PlannerConfig, agent: Path, *, bodies: int = 36, steps: int = 1500, config: CalibrationConfig = LENIENT
) -> Calibration:
    """The calibration of an agent, by its checkpoint, from bodies whose base actions a planner chose; kept likewise."""
    recording = _healthy(agent, bodies, steps, planner)
    found, _ = calibrate(zoo.load(agent, calibrated=False).agent, recording, config, key=jax.random.key(0))
    return found


def _encoder(space: str, model: WorldModel) -> MLP | None:
    if space == "raw observation":
        return None
    untrained = WorldModel(model.obs_dim, model.action_dim, key=jax.random.key(1)).encoder
    return {"fitted latent": model.encoder, "random latent": untrained}[space]


@lru_cache(maxsize=1)
def _healthy(agent: Path, bodies: int, steps: int, planner: PlannerConfig | None = None) -> Recording:
    shipped = zoo.load(agent, calibrated=False)
    acting = Agent(shipped.agent.model, planner or shipped.agent.planner, shipped.agent.discount)
    return collect(acting, shipped.task, bodies=bodies, steps=steps)
