"""What a world model expects to happen, beside what happened: the same actions dreamt before and after adaptation.

A dream is rolled out open loop from the first observation of a recorded episode, decoded, and drawn as a body where the
observations of a task say how the body stands.
"""

# MuJoCo is bound from C++ without stubs.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from PIL import Image

from worldshift.data.episodes import Episode
from worldshift.envs import PIXELS
from worldshift.models import vision
from worldshift.models.draw import Draw, Latent
from worldshift.report import film
from worldshift.run import pairs

POSES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "pendulum-swingup": lambda obs: np.arctan2(obs[1:2], obs[:1]),
    "cup-catch": lambda obs: obs[:4],
    "finger-turn-hard": lambda obs: np.append(obs[:2], -np.arctan2(obs[2], obs[3])),
    "reacher-easy": lambda obs: np.append(np.arctan2(obs[1:2], obs[:1]), obs[2]),
}
"""Joint positions, by task, from an observation."""


def dream(dynamics: Any, model: Draw, episode: Episode, steps: int, key: PRNGKeyArray) -> Float[np.ndarray, "S1 O"]:
    """Observations that `dynamics` expects from an episode's beginning on, under the actions that were taken.

    Arguments:
        dynamics: the model itself, or a corrected one.
        model: encodes the first observation and decodes the latents.
    """
    k_first, k_rest = jax.random.split(key)
    first = model.first(jnp.asarray(episode.seen[0]), k_first)

    def step(latent: Latent, row: tuple[jax.Array, PRNGKeyArray]) -> tuple[Latent, jax.Array]:
        after = dynamics.advance(latent, *row)
        return after, after.z

    action = jnp.asarray(episode.action[:steps])
    _, z = jax.lax.scan(step, first, (action, jax.random.split(k_rest, len(action))))
    return np.asarray(model.decode(jnp.concatenate([first.z[None], z])))


def pictures(
    task: str, obs: Float[np.ndarray, "S O"], count: int, size: tuple[int, int] = (120, 110)
) -> list[film.Frame]:
    """`count` frames, evenly spaced: the images themselves, or a body that stands as the observations say.

    Raises:
        KeyError: the task's observations do not say how the body stands (see `POSES`).
    """
    moments = np.linspace(0, len(obs) - 1, count).round().astype(int)
    if task.startswith(PIXELS):
        return [_enlarged(obs[i, : vision.PIXELS], min(size)) for i in moments]
    pose = POSES[task]
    env = pairs.make(task)
    env.reset(seed=0)
    model, data = env.get_wrapper_attr("model"), env.get_wrapper_attr("data")
    view, dt, frames = film.view_of(model), float(env.get_wrapper_attr("dt")), []
    for i in moments:
        data.qpos[:] = pose(obs[i])
        mujoco.mj_forward(model, data)
        frames.append(film.frame(model, data, size=size, view=view, title=f"{i * dt:.1f} s"))
    env.close()
    return frames


def _enlarged(image: Float[np.ndarray, " P"], side: int) -> film.Frame:
    frame = image.round().astype(np.uint8).reshape(vision.SIDE, vision.SIDE, vision.COLOURS)
    return np.asarray(Image.fromarray(frame).resize((side, side)))


def can_draw(task: str) -> bool:
    """Whether `pictures` knows how."""
    return task in POSES or task.startswith(PIXELS)
