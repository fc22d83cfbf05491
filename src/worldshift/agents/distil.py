"""Distilling sight: an agent of images takes over what an agent of states knows, and learns only to read an image.

Privileged teachers as in Learning by Cheating (arXiv 1912.12294): in a simulator a camera's image and the state behind
it are both at hand. ReDRAW's latent (arXiv 2504.02252) means one moment and nothing before it, so an encoder that finds
the teacher's latent in the image inherits dynamics, heads and policies as they are. No reward, no dream, no KL between
moments: supervised learning, minutes instead of hours. A decoder of images is trained beside it, for pictures of
dreams alone.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from worldshift.maths import categorical_kl, sample_one_hot
from worldshift.models.draw import Draw
from worldshift.nn import stepped, with_precision

PICTURED = 0.25
"""Share of the moments of an update that are pictured: most of the work is in their pixels."""


class DistilState(NamedTuple):
    """Everything that training changes."""

    model: Draw
    opt: optax.OptState
    updates: Int[Array, ""]


def init(teacher: Draw, obs_dim: int, learning_rate: float, *, key: PRNGKeyArray) -> DistilState:
    """A student that knows all that `teacher` knows and sees nothing yet.

    Arguments:
        obs_dim: numbers of an observation: those of an image, and of the vector behind it.
    """
    blank = Draw(
        *(obs_dim, teacher.action_dim),
        **{"size": teacher.size, "episodic": teacher.continue_head is not None, "pixels": True, "key": key},
    )
    student = eqx.tree_at(_inherited, blank, _inherited(teacher), is_leaf=lambda leaf: leaf is None)
    opt = optax.adam(learning_rate).init(eqx.filter(_learned(student), eqx.is_array))
    return DistilState(student, opt, jnp.zeros((), jnp.int32))


def _inherited(model: Draw) -> tuple[Any, ...]:
    return model.dynamics, model.initial, model.reward_head, model.continue_head


def _learned(model: Draw) -> tuple[Any, ...]:
    return model.encoder, model.posterior, model.decoder


def loss(
    student: Draw, teacher: Draw, seen: Float[Array, "B O"], state: Float[Array, "B S"], key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """KL from the teacher's posterior of a moment's state to the student's of its image, in nats, and what pictures of
    the student's latents are off by; nothing but the decoder learns from the latter.
    """
    wanted = jax.lax.stop_gradient(teacher.infer(teacher.embed(state)))
    found = student.infer(student.embed(seen))
    kl = jnp.mean(categorical_kl(wanted, found))
    z = student.flat(sample_one_hot(jnp.exp(jax.lax.stop_gradient(found)), key))
    few = max(1, round(PICTURED * len(z)))
    error = student.decoder(z[:few]) - student.standard(seen[:few])
    picture = jnp.mean(jnp.sum(error**2, axis=-1))
    return kl + picture, {"kl": kl, "picture": picture}


@eqx.filter_jit
def update_many(
    state: DistilState,
    moments: Float[Array, "U B O_and_S"],
    key: PRNGKeyArray,
    teacher: Draw,
    learning_rate: float,
    rate: Float[Array, ""] | float = 1.0,
) -> tuple[DistilState, dict[str, Array]]:
    """Updates in one dispatch, one for each of U batches of moments: image, vector, and then the teacher's state.

    At `rate` times the learning rate. Logs are means.
    """
    arrays, static = eqx.partition(state, eqx.is_array)
    optimiser = optax.adam(learning_rate)

    def body(arrays: Any, row: tuple[Array, PRNGKeyArray]) -> tuple[Any, dict[str, Array]]:
        now: DistilState = eqx.combine(arrays, static)
        seen, known = jnp.split(row[0], [now.model.obs_dim], axis=-1)

        def objective(learned: tuple[Any, ...]) -> tuple[Array, dict[str, Array]]:
            student = eqx.tree_at(_learned, now.model, learned)
            return loss(with_precision(student, "bfloat16"), teacher, seen, known, row[1])

        (_, logs), grad = eqx.filter_value_and_grad(objective, has_aux=True)(_learned(now.model))
        step, opt = optimiser.update(grad, now.opt)
        model = eqx.tree_at(_learned, now.model, stepped(_learned(now.model), step, rate))
        return eqx.filter(DistilState(model, opt, now.updates + 1), eqx.is_array), logs

    arrays, logs = jax.lax.scan(body, arrays, (moments, jax.random.split(key, len(moments))))
    return eqx.combine(arrays, static), jax.tree.map(jnp.mean, logs)
