"""A trained agent: world model, and a policy that acts with or without planning; saved as a checkpoint directory.

The base action lies in [-1, 1] whatever headroom the environment leaves for corrections. Acting is a pure function of
(memory, observation, key); the memory is the planner's warm start.
"""

import os
from dataclasses import asdict
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift import checkpoint
from worldshift.agents.mppi import Plan, PlannerConfig, plan
from worldshift.models.latent import SIZES, WorldModel

Memory = Float[Array, "N H A"]
Observations = Float[Array, "N O"] | Float[np.ndarray, "N O"]


class Agent(eqx.Module):
    """What was trained yesterday. Arrays are frozen or trained by partition, never by a flag here."""

    model: WorldModel
    planner: PlannerConfig | None = eqx.field(static=True, default=None)
    discount: float = eqx.field(static=True, default=0.99)

    def init_memory(self, n: int) -> Memory:
        """Planner memory of `n` environments at the start of an episode."""
        horizon = self.planner.horizon if self.planner else 0
        return jnp.zeros((n, horizon, self.model.action_dim))

    def reset_memory(self, memory: Memory, i: int) -> Memory:
        """Memory with environment `i` at the start of an episode."""
        return memory.at[i].set(0.0)

    def act(self, memory: Memory, obs: Observations, key: PRNGKeyArray) -> tuple[Float[Array, "N A"], Memory]:
        """Base actions to evaluate with: the policy's mean, or the planner's choice."""
        return _act(self, memory, obs, key, False)

    def explore(self, memory: Memory, obs: Observations, key: PRNGKeyArray) -> tuple[Float[Array, "N A"], Memory]:
        """Base actions to collect with: sampled."""
        return _act(self, memory, obs, key, True)

    def save(
        self, path: str | os.PathLike[str], config: dict[str, Any], provenance: dict[str, Any] | None = None
    ) -> None:
        """Writes the agent as a checkpoint directory.

        Arguments:
            config: the training configuration, kept for the record; its `size` is what the networks are rebuilt from.
            provenance: see `checkpoint.save`.

        Raises:
            ValueError: no model size in `config`.
        """
        if config.get("size") not in SIZES:
            raise ValueError(f"the configuration of an agent must name its model `size`, one of {sorted(SIZES)}.")
        described = {
            "agent": "tdmpc2",
            "obs_dim": self.model.obs_dim,
            "action_dim": self.model.action_dim,
            "episodic": self.model.termination_head is not None,
            "planner": asdict(self.planner) if self.planner else None,
            "discount": self.discount,
            "training": config,
        }
        arrays = eqx.filter(self.model, eqx.is_array)
        checkpoint.save(path, arrays, kind="agent", config=described, provenance=provenance)


def load_agent(path: str | os.PathLike[str]) -> tuple[Agent, dict[str, Any]]:
    """The agent stored at `path`, and its configuration.

    Raises:
        checkpoint.CheckpointError: no checkpoint of an agent there, or a damaged one.
    """
    manifest = checkpoint.read_manifest(path)
    if manifest.kind != "agent":
        raise checkpoint.CheckpointError(
            f"checkpoint {path} is of kind {manifest.kind!r}, but an agent is wanted here."
        )
    config = manifest.config
    dims = {"size": config["training"]["size"], "episodic": config["episodic"]}
    build = partial(WorldModel, config["obs_dim"], config["action_dim"], **dims)
    skeleton = eqx.filter_eval_shape(lambda key: build(key=key), jax.random.key(0))
    arrays, static = eqx.partition(skeleton, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    loaded, _ = checkpoint.load(path, like=arrays, kind="agent")
    planner = PlannerConfig(**config["planner"]) if config["planner"] else None
    return Agent(eqx.combine(loaded, static), planner, config["discount"]), config


@eqx.filter_jit
def _act(
    agent: Agent, memory: Memory, obs: Observations, key: PRNGKeyArray, explore: bool
) -> tuple[Float[Array, "N A"], Memory]:
    model, planner = agent.model, agent.planner
    z = model.encode(jnp.asarray(obs))
    if planner is None:
        return (model.policy(z, key).action if explore else model.mean_action(z)), memory

    def plan_one(z: Array, mean: Array, key: PRNGKeyArray) -> Plan:
        return plan(model, z, mean, key, planner, agent.discount, explore)

    planned = jax.vmap(plan_one)(z, memory, jax.random.split(key, len(obs)))
    return planned.action, planned.mean
