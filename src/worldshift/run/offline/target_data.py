"""What is recorded in the target of a pair for adaptation: by its oracle, by random actions, or by whom it is given.

The oracle of a pair is the shipped agent that was trained in its target. Everything is a function of its arguments.
"""

from functools import lru_cache
from typing import Literal

from worldshift import zoo
from worldshift.agents.draw_agent import DrawAgent
from worldshift.data.episodes import Episodes
from worldshift.run.acting import Acting
from worldshift.run.offline.record import Behaviour, RecordConfig, record
from worldshift.run.pairs import Pair
from worldshift.shifts import Shift

Recording = Behaviour | Literal["failures"]
"""What is recorded in the target; `failures`: seven parts mixed, and three parts what the source's own agent does
there, with bursts of noise as well."""
EPISODE = 100
"""Decisions of a recorded episode: shorter ones show more of how the oracle gets where it is paid."""


def oracle_of(pair: Pair) -> str:
    """The shipped agent that was trained in the target of a pair."""
    return f"draw-{pair.name}-1"


@lru_cache(maxsize=16)
def target_data(
    pair: Pair, behaviour: Recording, seed: int, transitions: int = 40_000, length: int | None = EPISODE
) -> Episodes:
    """What the oracle of a pair records in the target, or random actions: a function of its arguments alone."""
    if behaviour == "failures":
        few = 3 * transitions // 10
        source, _ = zoo.load_dreamer(f"draw-{pair.task.replace(':', '-')}-1")
        failed = own_data(pair.task, pair.shift, source, seed + 10_000, few, length)
        return target_data(pair, "mixed", seed, transitions - few, length) + failed
    act = None if behaviour == "random" else Acting(zoo.load_dreamer(oracle_of(pair))[0], seed)
    config = RecordConfig(pair.task, pair.shift, transitions, behaviour, length, seed=seed)
    return Episodes(tuple(record(config, act)), {})


def own_data(
    task: str, shift: Shift | None, agent: DrawAgent, seed: int, transitions: int, length: int | None
) -> Episodes:
    """What an agent records of a shifted task by itself, mixed."""
    config = RecordConfig(task, shift, transitions, length=length, seed=seed)
    return Episodes(tuple(record(config, Acting(agent, seed))), {})
