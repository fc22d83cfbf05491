"""MPPI planning in the latent space of a TD-MPC2 model, one compiled call for any number of environments.

TD-MPC2 (arXiv 2310.16828), section 3 and published code: iterations, samples, elites and temperature below, warm
start from the previous plan, value of a plan = discounted predicted rewards + terminal value under the policy.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from worldshift.models.latent import WorldModel


@dataclass(frozen=True)
class PlannerConfig:
    """Published settings of the planner."""

    horizon: int = 3
    iterations: int = 6
    """Two more are done for bodies with 20 or more actuators."""
    samples: int = 512
    policy_samples: int = 24
    elites: int = 64
    temperature: float = 0.5
    min_std: float = 0.05
    max_std: float = 2.0

    def __post_init__(self) -> None:
        """Refuses settings that cannot plan."""
        if self.horizon < 1 or self.iterations < 1:
            raise ValueError(f"a plan needs horizon {self.horizon} and iterations {self.iterations} of at least 1.")
        if not (0 <= self.policy_samples < self.samples and 1 <= self.elites <= self.samples):
            raise ValueError(
                f"of {self.samples} samples, fewer must come from the policy (not {self.policy_samples}), "
                f"and at least one and at most all must be elites (not {self.elites})."
            )


class Plan(NamedTuple):
    """The action to execute, and the plan's mean for the next warm start."""

    action: Float[Array, " A"]
    mean: Float[Array, "H A"]


def plan(
    model: WorldModel,
    z: Float[Array, " Z"],
    previous: Float[Array, "H A"],
    key: PRNGKeyArray,
    config: PlannerConfig,
    discount: float,
    explore: Bool[Array, ""] | bool = False,
) -> Plan:
    """Plans one action from latent `z`; `previous` is the last plan's mean (zeros after a reset).

    The action is finite and in [-1, 1] whatever the model predicts: a plan of non-finite value ranks last.
    """
    k_policy, k_pair, k_terminal, k_loop, k_pick, k_noise = jax.random.split(key, 6)
    actions = model.action_dim
    pair = model.random_pair(k_pair)

    def policy_step(z: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        action = model.policy(z, key).action
        return model.predict(z, action), action

    start = jnp.broadcast_to(z, (config.policy_samples, z.shape[-1]))
    _, proposals = jax.lax.scan(policy_step, start, jax.random.split(k_policy, config.horizon))
    proposals = jnp.nan_to_num(proposals)

    def value(plans: Float[Array, "H N A"]) -> Float[Array, " N"]:
        state = jnp.broadcast_to(z, (plans.shape[1], z.shape[-1]))
        total, alive, weight = jnp.zeros(plans.shape[1]), jnp.ones(plans.shape[1]), 1.0
        for t in range(config.horizon):
            total += weight * alive * model.reward(state, plans[t])
            state = model.predict(state, plans[t])
            weight *= discount
            if model.termination_head is not None:
                alive *= model.termination_head(state)[..., 0] <= 0
        last = model.policy(state, k_terminal).action
        return total + weight * alive * model.q_average(pair, state, last)

    def iterate(carry: tuple[Array, Array], key: PRNGKeyArray) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        mean, std = carry
        noise = jax.random.normal(key, (config.horizon, config.samples - config.policy_samples, actions))
        sampled = jnp.clip(mean[:, None] + std[:, None] * noise, -1, 1)
        plans = jnp.concatenate([proposals, sampled], axis=1)
        values = jnp.nan_to_num(value(plans), nan=jnp.finfo(jnp.float32).min)
        best, index = jax.lax.top_k(values, config.elites)
        elites = plans[:, index]
        weights = jax.nn.softmax(config.temperature * (best - best[0]))
        mean = jnp.einsum("e,hea->ha", weights, elites)
        spread = jnp.sqrt(jnp.einsum("e,hea->ha", weights, (elites - mean[:, None]) ** 2))
        return (mean, jnp.clip(spread, config.min_std, config.max_std)), (elites, weights)

    first = jnp.concatenate([previous[1:], jnp.zeros_like(previous[:1])])
    spread = jnp.full((config.horizon, actions), config.max_std)
    iterations = config.iterations + 2 * (actions >= 20)
    (mean, std), (elites, weights) = jax.lax.scan(iterate, (first, spread), jax.random.split(k_loop, iterations))
    picked = jax.random.categorical(k_pick, jnp.log(weights[-1]))
    action = elites[-1, 0, picked]
    action += jnp.where(explore, std[0] * jax.random.normal(k_noise, action.shape), 0.0)
    return Plan(jnp.clip(action, -1, 1), mean)
