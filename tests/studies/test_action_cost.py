"""The cost on actions: what is counted is what was sent, and the gradient is the slope of the error."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift import zoo
from worldshift.adapt.bounds import Oracle
from worldshift.adapt.contract import Command, Transition
from worldshift.adapt.fast_reflex import FastReflex
from worldshift.run.online.methods import build
from worldshift.run.online.protocol import Protocol
from worldshift.studies.action_cost import ActionCostStudy, Felt
from worldshift.studies.declared import STUDIES, load_study
from worldshift.studies.runner import run_study

STUDY = STUDIES["action-cost"]
assert isinstance(STUDY, ActionCostStudy)


@pytest.fixture
def small(tiny_run) -> ActionCostStudy:
    protocol = Protocol(nominal=40, on=60, off=0, episode_steps=50, offset=0)
    methods = ("nominal", "frozen", "fast, no headroom")
    return dataclasses.replace(
        STUDY, agents=(str(tiny_run.path),), methods=methods, protocol=protocol, faults=(1000, 1001), seeds=(0,)
    )


def test_rows_say_what_was_sent(small, tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "action-cost", small)
    run_study(small, tmp_path)
    evidence = load_study("action-cost", tmp_path)
    by = {m: [r for r in evidence.rows if r["method"] == m] for m in small.methods}
    assert all(0 <= r["saturated"] <= 1 and 0 <= r["at_bound"] <= 1 for r in evidence.rows)
    assert all(r["at_bound"] == 0 for r in by["frozen"]), "a policy's commands are never at twice its range"
    assert all(("gradient" in r) == (r["method"] == "frozen") for r in evidence.rows)
    assert all(r["gradient"] > 0 for r in by["frozen"])
    table = small.table(evidence)
    assert [line[1] for line in table.rows] == list(small.methods)
    assert {len(line) for line in table.rows} == {len(table.header)}


def test_without_headroom_no_command_leaves_the_policys_range(tiny_run):
    shipped = zoo.load(tiny_run.path)
    fast, oracle = (build(f"{m}, no headroom", shipped, STUDY.protocol) for m in ("fast", "oracle"))
    assert isinstance(fast, FastReflex) and fast.config.authority == 1.0
    assert isinstance(oracle, Oracle) and oracle.authority == 1.0


def test_the_gradient_is_the_slope_of_the_error(tiny_run):
    agent, zero = zoo.load(tiny_run.path).agent, jnp.zeros(())
    obs, after = (jnp.asarray(np.random.default_rng(i).normal(size=24), jnp.float32) for i in (0, 1))
    felt, base = Felt(agent), jnp.full(6, 0.3)
    _, telemetry = felt.observe(
        agent.init_memory(1), Transition(obs, Command(base, base), after, zero < 1, zero, zero > 1)
    )
    here, there = agent.model.encode(obs), agent.model.encode(after)
    error = lambda a: 0.5 * jnp.sum((there - agent.model.predict(here, a)) ** 2)  # noqa: E731
    steps = 1e-2 * jnp.eye(6)
    slope = jax.vmap(lambda d: (error(base + d) - error(base - d)) / 2e-2)(steps)
    np.testing.assert_allclose(telemetry.score, np.linalg.norm(slope), rtol=0.05)
