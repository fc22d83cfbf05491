"""How good an agent is, with nothing wrong or under a constant shift, and how it became so.

Protocol of TD-MPC2's evaluations (arXiv 2310.16828): whole episodes, mean action, return out of 1000 on dm_control.
"""

import json
from typing import Any

import jax
import numpy as np

from worldshift import envs
from worldshift.agents.draw_agent import DrawAgent
from worldshift.run import pairs
from worldshift.run.acting import Acting
from worldshift.run.evaluate import Evaluation, evaluate
from worldshift.shifts import Shift, Shifted
from worldshift.zoo import Shipped, beside


def evaluate_agent(
    shipped: Shipped, *, episodes: int, seed: int = 10_000, shift: Shift | None = None, fault: int = 0
) -> dict[str, Any]:
    """Whole episodes of an agent as it is, under a constant shift if there is one: returns, mean, min, saturation."""
    steps = shipped.config.get("episode_steps")

    def make(number: int) -> Any:
        env = envs.make(shipped.task, episode_steps=steps)
        return Shifted(env, shift, seed=fault + number) if shift else env

    batch = envs.BatchEnv([lambda number=number: make(number) for number in range(episodes)])
    agent, memory = shipped.agent, [shipped.agent.init_memory(episodes)]

    def act(obs: np.ndarray, t: int) -> np.ndarray:
        action, memory[0] = agent.act(memory[0], obs, jax.random.fold_in(jax.random.key(seed), t))
        return np.asarray(action)

    length = batch.envs[0].get_wrapper_attr("episode_steps")
    result = evaluate(batch, act, steps=int(length), seed=seed)
    batch.close()
    return _described(shipped.task, episodes, seed, int(length), result)


def _described(task: str, episodes: int, seed: int, length: int, result: Evaluation) -> dict[str, Any]:
    return {
        "task": task,
        "episodes": episodes,
        "seed": seed,
        "agent_steps": length,
        "mean": round(float(result.returns.mean()), 3),
        "std": round(float(result.returns.std()), 3),
        "min": round(float(result.returns.min()), 3),
        "saturation": round(result.saturation, 4),
        "returns": [round(float(r), 2) for r in result.returns],
    }


def evaluate_draw(
    agent: DrawAgent, task: str, shift: Shift | None = None, *, episodes: int, seed: int = 10_000, sample: bool = True
) -> dict[str, Any]:
    """Whole episodes of a DRAW agent under ReDRAW's protocol (at most 500), under a constant shift if there is one.

    `read` is the mean return as the agent's own model reads it from what it saw.
    """
    batch, act = pairs.batch(task, shift, episodes), Acting(agent, seed, sample=sample, reads=True)
    length = int(batch.envs[0].get_wrapper_attr("episode_steps"))
    result = evaluate(batch, act, steps=length, seed=seed)
    batch.close()
    read = round(float(act.returns(result.lengths).mean()), 3)
    return _described(task, episodes, seed, length, result) | {"read": read}


def training_curve(shipped: Shipped) -> list[list[float]]:
    """(frames, return) at every evaluation of the training; frames are agent steps x action repeat."""
    log = beside(shipped.path, "log.jsonl")
    env = envs.make(shipped.task)
    repeat = int(getattr(env.unwrapped, "action_repeat", 1))
    env.close()
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    return [[row["agent_steps"] * repeat, row["eval_return"]] for row in rows if "eval_return" in row]
