"""The agent that DRAW's learner makes: encoder and policy, how they act, and how they are stored.

ReDRAW (arXiv 2504.02252): only encoder and actor act, the dynamics comes along for adaptation. A recurrent model
(DreamerV3's, the baseline) has a memory that is carried from moment to moment.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from worldshift import checkpoint
from worldshift.agents.imagination import ActorCritic
from worldshift.models.draw import Draw, Latent
from worldshift.models.rssm import Rssm

MODELS = {"draw": Draw, "rssm": Rssm}
"""World models that this learner trains: ReDRAW's, and DreamerV3's as the baseline."""


class Memory(NamedTuple):
    """The latent of a moment, and what was done there: what a recurrent model needs of the past."""

    latent: Latent
    action: Float[Array, "N A"]


class DrawAgent(eqx.Module):
    """Encoder and policy: all that acting needs. The rest of the model comes along for adaptation."""

    model: Draw
    policy: ActorCritic

    def act(
        self,
        memory: Memory | None,
        obs: Float[Array, "N O"] | Float[np.ndarray, "N O"],
        key: PRNGKeyArray,
        *,
        sample: bool = True,
    ) -> tuple[Float[Array, "N A"], Memory]:
        """Actions within the bounds, sampled as ReDRAW evaluates or the policy's mean, and what to remember of it.

        `memory` is None at the first moment of an episode. DRAW's own model has no use for it, a recurrent one has.
        """
        return _act(self, memory, jnp.asarray(obs), key, sample)


@eqx.filter_jit
def _act(
    agent: DrawAgent, memory: Memory | None, obs: Float[Array, "N O"], key: PRNGKeyArray, sample: bool
) -> tuple[Float[Array, "N A"], Memory]:
    k_see, k_act = jax.random.split(key)
    latent = look(agent.model, memory, obs, k_see)
    action = agent.policy.act(latent.z, k_act) if sample else agent.policy.policy(latent.z)[0]
    action = jnp.clip(action, -1, 1)
    return action, Memory(latent, action)


def look(
    model: Draw,
    memory: Memory | None,
    obs: Float[Array, "N O"],
    key: PRNGKeyArray,
    begun: Bool[Array | np.ndarray, "N 1"] | None = None,
) -> Latent:
    """The latent of this moment: an episode's first where nothing is remembered, or where one has just `begun`."""
    if memory is None:
        return model.first(obs, key)
    after = model.after(memory.latent, memory.action, obs, key)
    if begun is None:
        return after
    return jax.tree.map(lambda new, old: jnp.where(begun, new, old), model.first(obs, key), after)


def save_agent(
    agent: DrawAgent,
    path: str | os.PathLike[str],
    training: Mapping[str, Any],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes model and policy as a checkpoint directory; `training` is kept for the record."""
    config = {
        "agent": "draw",
        "model": next(name for name, kind in MODELS.items() if type(agent.model) is kind),
        "size": agent.model.size,
        "obs_dim": agent.model.obs_dim,
        "action_dim": agent.model.action_dim,
        "episodic": agent.model.continue_head is not None,
        "pixels": agent.model.pixels,
        "discount": agent.policy.discount,
        "training": dict(training),
    }
    tree = {"model": eqx.filter(agent.model, eqx.is_array), "policy": eqx.filter(agent.policy, eqx.is_array)}
    checkpoint.save(path, tree, kind="agent", config=config, provenance=provenance)


def load_draw(path: str | os.PathLike[str]) -> tuple[DrawAgent, dict[str, Any]]:
    """The agent stored at `path`, and its configuration.

    Raises:
        checkpoint.CheckpointError: no DRAW agent there, or a damaged one.
    """
    manifest = checkpoint.read_manifest(path)
    config = manifest.config
    if manifest.kind != "agent" or config.get("agent") != "draw":
        raise checkpoint.CheckpointError(f"checkpoint {path} is not a DRAW agent, which is wanted here.")

    def build(key: PRNGKeyArray) -> DrawAgent:
        names = ("obs_dim", "action_dim", "size", "episodic", "pixels")
        kind = MODELS[config.get("model", "draw")]
        model = kind(**{name: config[name] for name in names}, key=key)
        return DrawAgent(model, ActorCritic(model, discount=config.get("discount", 0.99), key=key))

    skeleton = eqx.filter_eval_shape(build, jax.random.key(0))
    arrays, static = eqx.partition(skeleton, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    loaded, _ = checkpoint.load(path, like={"model": arrays.model, "policy": arrays.policy}, kind="agent")
    return eqx.combine(DrawAgent(loaded["model"], loaded["policy"]), static), config
