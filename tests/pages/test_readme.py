"""Numbers in the prose of README.md are those of the committed rows; its tables are written from them."""

import json

import pytest

from written import PAIRS, ROOT, against_frozen, at_its_own, at_ours, card, found, of_oracle, percent, prose

PAGE = prose("README.md")
REVERSED, REACHER, CUP, FINGER = PAIRS


def on_all(case: str) -> tuple[str, str]:
    """Share of the oracle's return: in the mean of the four pairs, and on the finger."""
    *_, finger, mean = of_oracle([case] * len(PAIRS))
    return mean, finger


def test_offline_from_states() -> None:
    longer, finger_longer = on_all("residual, half of 40,000 its own, 6,000 updates")
    short, finger_short = on_all("residual, half of 40,000 its own")
    ways = ("finetune of the dynamics", "replacement", "finetune of everything")
    finetune, anew, everything = (of_oracle(at_ours(way))[-1] for way in ways)
    searched = [of_oracle(at_its_own(way))[-1] for way in (*ways, "residual")]
    little, finger_little = on_all("residual, half of 4,000 its own in two turns, 6,000 updates")
    more = found("offline-own")["pairs"][FINGER]["residual, half of 4,000 its own in four turns, 6,000 updates"]
    assert (
        f"it ends at {longer} % of the agent that was trained in the target after 6,000 updates, at {short} % after "
        f"3,000 (means of the four pairs; the finger is the hardest, at {finger_longer} and {finger_short} %). A "
        f"finetune of the dynamics, recording for itself, is at {finetune} % after 3,000, new dynamics at {anew} %, a "
        f"finetune of everything at {everything} %, at the same learning rates; [after an equal search]"
        f"(docs/residual.md#learning-rates) for each they are at {searched[0]}, {searched[1]} and {searched[2]} %, the "
        f"residual at {searched[3]}. From 4,000 transitions and in two turns it is at {little} % (the "
        f"finger at {finger_little} %, in four turns at {percent(more['share'])} %)"
    ) in PAGE


def test_offline_from_images() -> None:
    cases = found("offline-pixels")["pairs"][f"{REVERSED}-pixels"]
    whole, short = cases["residual, whole episodes"]["share"], cases["residual"]["share"]
    assert (
        f"From images the pendulum is at {percent(whole)} % after whole recorded episodes, at {percent(short)} % "
        "after short ones"
    ) in PAGE


@pytest.mark.parametrize(
    ("method", "change", "sentence"),
    [
        ("layered", "all velocities", "of {count} changes {loss:.1f} [{low:.1f}, {high:.1f}] % at worst"),
        ("fast", "both ankles", "the fast one loses {loss:.0f} % where both ankles are dead"),
    ],
)
def test_the_greatest_harm(method: str, change: str, sentence: str) -> None:
    won = against_frozen(method)
    worst = min(won, key=lambda each: won[each]["value"])
    assert change in worst
    loss, low, high = (-100 * won[worst][key] for key in ("value", "high", "low"))
    assert sentence.format(count=len(won), loss=loss, low=low, high=high) in PAGE


def test_pixels_of_the_other_two() -> None:
    pairs = [found("offline-pixels")["pairs"][f"{name}-pixels"] for name in (REACHER, CUP)]
    mixed, own = (
        " and ".join(percent(pair[f"residual{of}"]["share"]) for pair in pairs)
        for of in ("", ", half of 40,000 its own")
    )
    assert f"reacher and cup reach {mixed} % of their oracles, with half of the 40,000 their own {own} %" in PAGE


def test_the_hopper() -> None:
    evaluation, run = (card("hopper-hop-2")[key] for key in ("evaluation", "agent_steps"))
    assert f"{evaluation['mean']:.0f} of 1000 after {run:,} decisions" in PAGE
    steps, mean, lowest = json.loads((ROOT / "results" / "hopper_seed_1.json").read_text())["curve"][-1]
    assert f"was at {mean:.0f} after {steps:,} ([its curve](results/hopper_seed_1.json)) and is not shipped" in PAGE
    assert lowest == 0.0
