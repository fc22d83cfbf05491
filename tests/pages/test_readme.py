"""Numbers in the prose of README.md are those of the committed rows; its tables are written from them."""

import numpy as np
import pytest

from written import PAIRS, found, percent, prose

PAGE = prose("README.md")
REVERSED, REACHER, CUP, FINGER = PAIRS


def of_oracle(case: str) -> tuple[str, str]:
    """Share of the oracle's return: in the mean of the four pairs, and on the finger."""
    shares = [found("offline-own")["pairs"][pair][case]["share"] for pair in PAIRS]
    return percent(float(np.mean(shares))), percent(shares[-1])


def test_offline_from_states() -> None:
    longer, finger_longer = of_oracle("residual, half of 40,000 its own, 6,000 updates")
    short, finger_short = of_oracle("residual, half of 40,000 its own")
    finetune, anew, everything = (
        of_oracle(f"{method}, half of 40,000 its own")[0]
        for method in ("finetune of the dynamics", "replacement", "finetune of everything")
    )
    little, finger_little = of_oracle("residual, half of 4,000 its own in two turns, 6,000 updates")
    more = found("offline-own")["pairs"][FINGER]["residual, half of 4,000 its own in four turns, 6,000 updates"]
    assert (
        f"it ends at {longer} % of the agent that was trained in the target after 6,000 updates, at {short} % after "
        f"3,000 (means of the four pairs; the finger is the hardest, at {finger_longer} and {finger_short} %). A "
        f"finetune of the dynamics, recording for itself, is at {finetune} % after 3,000, new dynamics at {anew} %, a "
        f"finetune of everything at {everything} %, at the same learning rates; [after an equal search]"
        "(docs/residual.md#learning-rates) for each they are at 87, 79 and 80 %, the residual at 92. "
        f"From 4,000 transitions and in two turns it is at {little} % (the "
        f"finger at {finger_little} %, in four turns at {percent(more['share'])} %)"
    ) in PAGE


def test_offline_from_images() -> None:
    cases = found("offline-pixels")["pairs"][f"{REVERSED}-pixels"]
    whole, short = cases["residual, whole episodes"]["share"], cases["residual"]["share"]
    assert (
        f"From images the pendulum is at {percent(whole)} % after whole recorded episodes, at {percent(short)} % "
        "after short ones"
    ) in PAGE


def worst(method: str) -> tuple[str, dict[str, float]]:
    """The change under which a method loses most against the frozen agent, and what it gains there."""
    levels = found("beyond-gains")["levels"]
    own = {name: each[method]["against_frozen"] for name, each in levels.items() if method in each}
    at = min(own, key=lambda name: own[name]["value"])
    return at, own[at]


@pytest.mark.parametrize(
    ("method", "change", "sentence"),
    [
        ("layered", "velocities", "of {count} changes {loss:.1f} [{low:.1f}, {high:.1f}] % at worst"),
        ("fast", "ankle", "the fast one loses {loss:.0f} % on a dead ankle"),
    ],
)
def test_the_greatest_harm(method: str, change: str, sentence: str) -> None:
    at, gain = worst(method)
    assert change in at
    loss, low, high = (-100 * gain[key] for key in ("value", "high", "low"))
    count = len(found("beyond-gains")["levels"])
    assert sentence.format(count=count, loss=loss, low=low, high=high) in PAGE


def test_pixels_of_the_other_two() -> None:
    pairs = [found("offline-pixels")["pairs"][f"{name}-pixels"] for name in (REACHER, CUP)]
    mixed, own = (
        " and ".join(percent(pair[f"residual{of}"]["share"]) for pair in pairs)
        for of in ("", ", half of 40,000 its own")
    )
    assert f"reacher and cup reach {mixed} % of their oracles, with half of the 40,000 their own {own} %" in PAGE
