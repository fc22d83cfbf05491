"""Numbers in the prose of docs/pretraining.md are those of the committed curves."""

import json

import pytest

from worldshift import zoo
from written import ROOT, prose

PAGE = prose("docs/pretraining.md")


def test_who_collects() -> None:
    runs = json.loads((ROOT / "results" / "task_only.json").read_text())["runs"]
    explorer, task, task_later, half = (dict(run["curve"]) for run in runs)
    shipped = (zoo.ROOT / "draw-pendulum-swingup-1" / "log.jsonl").read_text().splitlines()
    last = [row for row in map(json.loads, shipped) if "eval_return" in row][-1]
    assert explorer[last["agent_steps"]] == pytest.approx(last["eval_return"], abs=0.1)
    spun = [value for steps, value in task.items() if steps >= 64_000]
    assert (
        f"After 96,000 decisions it was at {explorer[96_000]:.0f} of 500, after 112,000 it stood, "
        f"{explorer[112_000]:.0f}, and at the end of 240,000 it was at {explorer[240_000]:.0f}."
    ) in PAGE
    assert f"is at {min(spun):.0f} to {max(spun):.0f} from 64,000 decisions to the end" in PAGE
    early = f"{half[120_000]:.0f} after 120,000 decisions, as was the task's policy alone ({task_later[120_000]:.0f})"
    assert f"half and half was at {early}" in PAGE


def test_how_small_a_network_may_be() -> None:
    runs = json.loads((ROOT / "results" / "pretraining_sizes.json").read_text())["runs"]
    tiny, nano, least = (dict(run["curve"]) for run in runs)
    shipped = (zoo.ROOT / "draw-pendulum-swingup-1" / "log.jsonl").read_text().splitlines()
    assert tiny == pytest.approx(
        {row["agent_steps"]: row["eval_return"] for row in map(json.loads, shipped) if "eval_return" in row}, abs=0.1
    )
    assert (
        f"at {nano[112_000]:.0f} of 500 after 112,000 decisions and at {nano[240_000]:.0f} at the end, as with `tiny` "
        f"({tiny[112_000]:.0f} and {tiny[240_000]:.0f})"
    ) in PAGE
    said = f"it is at {max(least.values()):.0f} at best, and at {least[240_000]:.0f} at the end."
    assert said in PAGE
