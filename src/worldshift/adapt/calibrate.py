"""Calibration of a fast reflex: minutes on the healthy body, stored with the agent.

It fits a one-step observation model, whitens its residuals, measures the score's bias on the healthy body, scales the
estimator's own uncertainty by its error where the truth is known, and sets the change detector's threshold by its
level on the healthy body. Nothing here sees a fault. It refuses when the healthy body's own estimate is not near zero.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree

from worldshift import checkpoint
from worldshift.adapt.contract import Command, Transition
from worldshift.adapt.fast_reflex import (
    STRUCTURES,
    Calibration,
    FastReflex,
    FastReflexConfig,
    FastReflexState,
    Structure,
    detection_level,
)
from worldshift.agents.agent import Agent
from worldshift.models.onestep import OneStep
from worldshift.nn import MLP

TRUST = 0.02
"""How exact a model is taken to be at most, in units of a step's change, where its noise says nothing about how far
estimates are off: a faultless one of a simulated mass calls every fault an outlier, and its own rounding a fault."""
LEAST_LEVEL, LEAST_THRESHOLD = 0.25, 3.0
"""Bounds below such a body's healthy level (1 for white noise) and detector's threshold (1: nothing has changed)."""
MOST_INFLATION = 50.0
"""Where uncertainty would have to be inflated by more, the model's noise says nothing."""


class Recording(NamedTuple):
    """Healthy transitions of N bodies side by side, in time order."""

    obs: Float[np.ndarray, "N T O"]
    base: Float[np.ndarray, "N T A"]
    action: Float[np.ndarray, "N T A"]  # what was sent to the plant, excitation included
    next_obs: Float[np.ndarray, "N T O"]
    gains: Float[np.ndarray, "N T A"]  # self-made: part of the excitation
    valid: Float[np.ndarray, "N T"]  # 1 where next_obs follows obs
    excited: Bool[np.ndarray, " N"]


@dataclass(frozen=True)
class CalibrationConfig:
    """Sizes of the one-step model and of its fit."""

    width: int = 256
    updates: int = 8_000
    batch: int = 512
    learning_rate: float = 1e-3
    held_out: float = 0.33
    """Share of the bodies that the fit does not see; everything but the fit is measured on them."""
    tolerance: float = 0.1
    """Largest root-mean-square gain error that a healthy body's own estimate may have."""


class CalibrationError(ValueError):
    """The healthy body's own estimate is not near zero: adapting with it could do harm."""


def calibrate(
    agent: Agent,
    recording: Recording,
    config: CalibrationConfig = CalibrationConfig(),
    *,
    encoder: MLP | None = None,
    key: PRNGKeyArray,
    report: Callable[[int], None] | None = None,
) -> tuple[Calibration, dict[str, float]]:
    """Fits and measures everything that a fast reflex needs to know about the healthy body.

    Arguments:
        encoder: errors are measured in its latent; by default in the observation itself.

    Returns:
        The calibration, and what was measured: the model's unexplained share, the rms gain error on the healthy body.

    Raises:
        CalibrationError: the estimate on healthy held-out bodies is off by more than `config.tolerance`.
        ValueError: the recording holds NaN, or too few bodies to hold some out.
    """
    if not all(np.isfinite(x).all() for x in recording[:6]):
        raise ValueError("the recording of the healthy body holds NaN or infinity; record it again.")
    held = _held_out(recording, config.held_out)
    train, test = _select(recording, ~held), _select(recording, held)
    model = fit_one_step(train, config, encoder=encoder, key=key, report=report)
    healthy = _select(test, ~test.excited)
    draft = _measure(agent, model, healthy)
    if draft.inflation >= MOST_INFLATION:
        draft = _measure(agent, model, healthy, exact=True)
    actions = recording.base.shape[-1]
    states, _ = replay(FastReflex(agent, draft), healthy, healthy.base)
    settled = np.asarray(states.theta)[..., :actions]
    rms = float(np.sqrt(np.mean(settled**2)))
    if not rms <= config.tolerance:
        raise CalibrationError(
            f"on the healthy body the gain estimate is off by {rms:.2f} (allowed {config.tolerance}), so adapting "
            "could do harm; record more healthy data, with more excitation, and calibrate again."
        )
    unexplained = _unexplained(model, healthy)
    return draft, {"healthy_gain_rms": rms, "unexplained": unexplained, "inflation": float(draft.inflation)}


def _measure(agent: Agent, model: OneStep, healthy: Recording, *, exact: bool = False) -> Calibration:
    """All but the fit, each with what came before it; `exact`: with bounds for a model whose noise says nothing."""
    whitening = whiten(model, healthy, TRUST if exact else 0.0)
    actions, one = healthy.base.shape[-1], jnp.ones(())
    draft = Calibration(model, whitening, jnp.zeros((actions, actions + 1)), one, one, jnp.full(3, jnp.inf))
    level = _healthy_level(model, whitening, healthy)
    draft = draft._replace(healthy_level=jnp.maximum(level, LEAST_LEVEL) if exact else level)
    draft = draft._replace(score_bias=_score_bias(agent, draft, healthy))
    draft = draft._replace(inflation=_inflation(agent, draft, healthy))
    threshold = _threshold(agent, draft, healthy)
    return draft._replace(threshold=jnp.maximum(threshold, LEAST_THRESHOLD) if exact else threshold)


def fit_one_step(
    data: Recording,
    config: CalibrationConfig,
    *,
    encoder: MLP | None = None,
    key: PRNGKeyArray,
    report: Callable[[int], None] | None = None,
) -> OneStep:
    """Fits mean and noise of the one-step model by a likelihood whose weights do not drown rare easy steps."""
    keep = np.asarray(data.valid).astype(bool)
    obs, action, next_obs = (jnp.asarray(np.asarray(x)[keep]) for x in (data.obs, data.action, data.next_obs))
    k_model, k_fit = jax.random.split(key)
    if encoder is not None:
        obs, next_obs = encoder(obs), encoder(next_obs)
    model = OneStep(obs, next_obs - obs, action.shape[-1], width=config.width, encoder=encoder, key=k_model)
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.updates)),
    )
    network, static = eqx.partition(model.network, eqx.is_array)

    def loss(network: PyTree, index: Array) -> Float[Array, ""]:
        fitted = eqx.tree_at(lambda m: m.network, model, eqx.combine(network, static))
        mean, log_std = fitted.change(obs[index], action[index])
        error = ((next_obs[index] - obs[index]) / model.change_std - mean) ** 2
        # Beta-NLL (Seitzer et al. 2022, beta 0.5): plain likelihood starves the noisy channels of gradient.
        return jnp.mean(jax.lax.stop_gradient(jnp.exp(log_std)) * (0.5 * error * jnp.exp(-2 * log_std) + log_std))

    @jax.jit
    def many(network: PyTree, state: optax.OptState, keys: Key[Array, " U"]) -> tuple[PyTree, optax.OptState]:
        def body(carry: PyTree, key: PRNGKeyArray) -> tuple[PyTree, None]:
            network, state = carry
            index = jax.random.randint(key, (config.batch,), 0, len(obs))
            updates, state = optimiser.update(jax.grad(loss)(network, index), state)
            return (optax.apply_updates(network, updates), state), None

        return jax.lax.scan(body, (network, state), keys)[0]

    state = optimiser.init(network)
    for start in range(0, config.updates, 200):
        keys = jax.random.split(jax.random.fold_in(k_fit, start), min(200, config.updates - start))
        network, state = many(network, state, keys)
        if report:
            jax.block_until_ready(state)
            report(start + len(keys))
    return eqx.tree_at(lambda m: m.network, model, eqx.combine(network, static))


def whiten(model: OneStep, healthy: Recording, least: float = 0.0) -> Float[Array, "S S"]:
    """Symmetric whitening of the healthy innovations; tiny directions are floored at 5 % of the mean variance, and all
    at what an error of `least`, in units of a step's change, is in predicted standard deviations.
    """
    rows = np.clip(_innovations(model, healthy), -5, 5)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows.T)))
    _, log_std = _predicted(model, jnp.asarray(healthy.obs), jnp.asarray(healthy.action))
    values = np.maximum(values, max(0.05 * values.mean(), (least / np.exp(np.mean(log_std))) ** 2))
    return jnp.asarray((vectors / np.sqrt(values)) @ vectors.T, jnp.float32)


@eqx.filter_jit
def replay(
    reflex: FastReflex, data: Recording, command: Float[Array | np.ndarray, "N T A"]
) -> tuple[FastReflexState, Float[Array, "N T P"]]:
    """Runs the estimator over recorded steps as if `command` had been sent. Returns all states and scores."""

    def body(state: FastReflexState, row: tuple[Array, ...]) -> tuple[FastReflexState, PyTree]:
        obs, base, command, next_obs, valid = row
        zero = jnp.zeros(())
        transition = Transition(obs, Command(command, base), next_obs, valid > 0, zero, zero > 1)
        matrix, offset = reflex.action_map(state.theta)
        innovation, design = reflex._linearise(transition, matrix @ command + offset)
        weight = jnp.minimum(1.0, reflex.config.outlier / jnp.maximum(jnp.mean(innovation**2), 1e-6))
        new, _ = reflex.observe(state, transition)
        return new, (new, jnp.where(valid > 0, weight, 0.0) * (design.T @ innovation))

    def one(*rows: Array) -> PyTree:
        return jax.lax.scan(body, reflex.init(jax.random.key(0)), rows)[1]

    rows = (jnp.asarray(x) for x in (data.obs, data.base, command, data.next_obs, data.valid))
    return jax.vmap(one)(*rows)


def save_calibration(path: str | os.PathLike[str], calibration: Calibration, config: dict) -> None:
    """Stores a calibration as a checkpoint of its own."""
    arrays = eqx.filter(calibration, eqx.is_array)
    checkpoint.save(path, arrays, kind="calibration", config=config)


def load_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Reads what `save_calibration` wrote.

    Raises:
        checkpoint.CheckpointError: no calibration there, or a damaged one.
    """
    manifest = checkpoint.read_manifest(path)
    if manifest.kind != "calibration":
        raise checkpoint.CheckpointError(
            f"checkpoint {path} is of kind {manifest.kind!r}, but a calibration is wanted here."
        )
    shapes = {name: leaf.shape for name, leaf in manifest.leaves.items()}
    observations, actions = shapes["whitening"][0], shapes["score_bias"][0]

    def skeleton(key: PRNGKeyArray) -> Calibration:
        blank = jnp.zeros((2, observations))
        model = OneStep(blank, blank, actions, width=manifest.config["width"], key=key)
        eye, zero = jnp.zeros((observations, observations)), jnp.zeros(())
        return Calibration(model, eye, jnp.zeros((actions, actions + 1)), zero, zero, jnp.zeros(3))

    like = eqx.filter_eval_shape(skeleton, jax.random.key(0))
    arrays, static = eqx.partition(like, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    loaded, _ = checkpoint.load(path, like=arrays, kind="calibration")
    return eqx.combine(loaded, static)


def _innovations(model: OneStep, data: Recording) -> np.ndarray:
    """Normalised innovations of all valid steps, (steps, S)."""
    rows = (jnp.asarray(x) for x in (data.obs, data.action, data.next_obs))
    return np.asarray(eqx.filter_jit(model.innovation)(*rows))[np.asarray(data.valid).astype(bool)]


@eqx.filter_jit
def _predicted(model: OneStep, obs: Array, action: Array) -> tuple[Float[Array, "N T S"], Float[Array, "N T S"]]:
    return model.change(model.see(obs), action)


def _held_out(data: Recording, share: float) -> np.ndarray:
    """Bodies kept from the fit: the same share of excited and of plain ones."""
    held = np.zeros(len(data.excited), bool)
    for group in (np.flatnonzero(data.excited), np.flatnonzero(~np.asarray(data.excited))):
        if len(group) < 2:
            raise ValueError("a calibration needs at least two excited and two plain bodies; record more bodies.")
        held[group[: max(1, round(share * len(group)))]] = True
    return held


def _select(data: Recording, which: np.ndarray) -> Recording:
    return Recording(*(np.asarray(x)[which] for x in data))


def _healthy_level(model: OneStep, whitening: Float[Array, "S S"], healthy: Recording) -> Float[Array, ""]:
    """Mean squared whitened innovation, capped at ten times its median (resets and hard landings)."""
    level = jnp.mean((_innovations(model, healthy) @ whitening) ** 2, axis=-1)
    return jnp.mean(jnp.minimum(level, 10 * jnp.median(level)))


def _score_bias(agent: Agent, draft: Calibration, healthy: Recording) -> Float[Array, "A A1"]:
    """Mean score at the truth (nothing wrong): what must be subtracted for the healthy body to look healthy."""
    still = FastReflexConfig(
        structure="matrix", drift_std=0.0, gain_std=1e-6, bias_std=1e-6, coupling_std=1e-6, detector=False, debias=False
    )
    reflex = FastReflex(agent, draft, still)
    _, scores = replay(reflex, healthy, healthy.base)
    mean = jnp.sum(scores, axis=(0, 1)) / jnp.sum(jnp.asarray(healthy.valid))
    return draft.score_bias.at[reflex.entries()].set(mean)


def _inflation(agent: Agent, draft: Calibration, healthy: Recording, window: int = 60) -> Float[Array, ""]:
    """Ratio of the squared estimation error to the claimed one where the truth is known: on the healthy body."""
    reflex = FastReflex(agent, draft, FastReflexConfig(structure="gain", detector=False, drift_std=0.0))
    count = healthy.obs.shape[1] // window
    fields = (x[:, : count * window].reshape(-1, window, *x.shape[2:]) for x in healthy[:6])
    windows = Recording(*fields, excited=np.zeros(len(healthy.obs) * count, bool))
    states, _ = replay(reflex, windows, windows.base)
    theta, cov = states.theta[:, -1], states.cov[:, -1]
    claimed = jax.vmap(lambda t, c: t @ jnp.linalg.solve(c, t))(theta, cov) / theta.shape[-1]
    return jnp.clip(jnp.mean(jnp.minimum(claimed, 10 * jnp.median(claimed))), 1.0, MOST_INFLATION)


def _threshold(agent: Agent, draft: Calibration, healthy: Recording) -> Float[Array, " 3"]:
    """The detector's level that a healthy body exceeds once in a thousand steps, for each structure."""

    def quantile(structure: Structure) -> Float[Array, ""]:
        reflex = FastReflex(agent, draft, FastReflexConfig(structure=structure))
        states, _ = replay(reflex, healthy, healthy.base)
        level = jax.vmap(jax.vmap(detection_level))(states.evidence, states.information)
        return jnp.quantile(level[:, 20:], 0.999)

    return jnp.stack([quantile(structure) for structure in STRUCTURES])


def _unexplained(model: OneStep, healthy: Recording) -> float:
    mean, _ = _predicted(model, jnp.asarray(healthy.obs), jnp.asarray(healthy.action))
    error = (model.happened(jnp.asarray(healthy.obs), jnp.asarray(healthy.next_obs)) - mean) ** 2
    return float(jnp.mean(jnp.asarray(error)[np.asarray(healthy.valid).astype(bool)]))
