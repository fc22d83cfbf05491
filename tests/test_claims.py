"""Numbers in the prose of README and docs are those of the committed rows; tables and figures are written from them.

Those of docs/reflex.md are compared with the written tables, in test_reflex_claims.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldshift import zoo
from worldshift.cli.results_verb import findings
from worldshift.studies.declared import load_study

ROOT = Path(__file__).parents[1]
TASKS = ("pendulum-swingup", "reacher-easy", "cup-catch", "finger-turn-hard")
PIXELS = "pendulum-reversed-pixels"
FINGER = "finger-torque"


@cache
def prose(name: str = "README.md") -> str:
    """A page with every line break a space."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


@cache
def found(study: str) -> Any:
    return findings(load_study(study, ROOT / "results"))


@cache
def rows(study: str) -> Any:
    return load_study(study, ROOT / "results").rows


def percent(share: float) -> str:
    return f"{100 * share:.0f}"


def of_oracle(case: str) -> tuple[str, str]:
    """Share of the oracle's return: in the mean of the four pairs, and on the finger."""
    pairs = found("offline-own")["pairs"]
    assert len(pairs) == 4
    shares = {pair: each[case]["share"] for pair, each in pairs.items()}
    return percent(float(np.mean(list(shares.values())))), percent(shares[FINGER])


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
        f"finetune of everything at {everything} %, at the same learning rates; at lower ones "
        "[it does better](docs/residual.md#learning-rates) on the cup. "
        f"From 4,000 transitions and in two turns it is at {little} % (the "
        f"finger at {finger_little} %, in four turns at {percent(more['share'])} %)"
    ) in prose()
    value = "{value:.0f} [{low:.0f}, {high:.0f}]".format(**more["final"])
    assert (
        f"On the finger a second half in four turns of 500, with 3,000 updates before each, gives {value}, "
        f"{percent(more['share'])} %"
    ) in prose("docs/residual.md")


def test_offline_from_images() -> None:
    cases = found("offline-pixels")["pairs"][PIXELS]
    whole, short = cases["residual, whole episodes"]["share"], cases["residual"]["share"]
    assert (
        f"From images the pendulum is at {percent(whole)} % after whole recorded episodes, at {percent(short)} % "
        "after short ones"
    ) in prose()


def test_how_little_computing_is_enough() -> None:
    small, whole = found("offline-small")["pairs"], found("offline-own")["pairs"]

    def at(pair: str, steps: int, latents: int) -> str:
        return f"{small[pair][f'dreams of {steps} steps from {latents} latents']['final']['value']:.0f}"

    swings, pairs = "pendulum-reversed", ("reacher-reversed", "cup-windy", "finger-torque")
    usual, reacher, cup, finger = (
        f"{whole[p]['residual, half of 40,000 its own']['final']['value']:.0f}" for p in (swings, *pairs)
    )
    less, least = [at(p, 10, 32) for p in pairs[:2]], [at(p, 5, 16) for p in pairs]
    assert (
        f"dreams of 10 steps from 32 latents leave the reacher at {less[0]} instead of {reacher} and the cup at "
        f"{less[1]} instead of {cup}; dreams of 5 steps from 16 at {least[0]} and {least[1]}, and the finger at "
        f"{least[2]} instead of {finger} (`offline-small`). The pendulum is at {at(swings, 10, 32)} and "
        f"{at(swings, 5, 16)} with them, instead of {usual}."
    ) in prose("docs/residual.md")


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
    assert sentence.format(count=count, loss=loss, low=low, high=high) in prose()


def listed(method: str) -> str:
    """Shares of the oracle on each pair, in percent, as a list in words."""
    *most, last = [percent(each[method]["share"]) for each in found("offline-methods")["pairs"].values()]
    return f"{', '.join(most)} and {last} %"


def curves(study: str, pair: str, method: str) -> np.ndarray:
    """Returns, (seeds, measurements)."""
    own = [r["curve"]["target_return"] for r in rows(study) if (r["pair"], r["method"]) == (pair, method)]
    return np.asarray(own)


def test_ways_of_adapting() -> None:
    said, pairs = prose("docs/residual.md"), found("offline-methods")["pairs"]
    methods = ("residual", "finetune of the dynamics", "replacement")
    pendulum, reacher, cup, finger = (
        "{}, {} and {} %".format(*(percent(each[m]["share"]) for m in methods)) for each in pairs.values()
    )
    assert (
        f"at {pendulum.replace(' %', '')} % of the oracle's return on the pendulum, at {reacher} on the reacher" in said
    )
    assert f"at {cup} on the cup" in said and f"at {finger} on the finger" in said
    assert f"({listed('finetune of everything')})" in said and f"({listed('residual as published')}; a likely" in said


def test_the_recurrent_model_and_domain_randomisation() -> None:
    said, pairs = prose("docs/residual.md"), found("offline-methods")["pairs"]
    finetune = "finetune of the recurrent model"
    mean = curves("offline-methods", "pendulum-reversed", finetune).mean(0)
    assert f"is at {mean.max():.0f} of 407 after 1,500 updates and falls to {mean[-1]:.0f} after 3,000" in said
    assert int(np.argmax(mean)) == 3 and len(mean) == 7, "measured every 500 updates"
    shipped = [f"{card(f'rssm-{task}-1')['evaluation']['mean']:.0f}" for task in TASKS]
    assert "reached {}, on the reacher {}, on the cup {}, and on the finger,".format(*shipped) in said
    states = card(f"draw-{TASKS[-1]}-1")["evaluation"]["mean"]
    assert f"{shipped[-1]}, where the agent of states is at {states:.0f}." in said
    finals = {pair: {m: each["final"]["value"] for m, each in own.items()} for pair, own in pairs.items()}
    assert [pair for pair, own in finals.items() if max(own, key=lambda m: own[m]) == finetune] == ["reacher-reversed"]
    _, reacher, cup, finger = ([f"{own[m]:.0f}" for m in (finetune, "oracle", "residual")] for own in finals.values())
    assert "it ends at {} of {}, above all else that the same recordings give (residual {})".format(*reacher) in said
    lowest = curves("offline-methods", "cup-windy", finetune)[:, -1].min()
    assert (
        f"cup it ends at {cup[0]} of {cup[1]}, one seed at {lowest:.0f}, and on the finger at {finger[0]} of "
        f"{finger[1]}, where the residual is at {cup[2]} and {finger[2]}."
    ) in said
    ends = {
        pair: [each[m]["final"]["value"] for m in ("domain randomisation", "oracle")] for pair, each in pairs.items()
    }
    reversed_, reacher, cup, finger = ("{:.0f} of {:.0f}".format(*each) for each in ends.values())
    assert f"on the cup it reaches {cup}, on the finger {finger}" in said
    assert f"it ends at {reversed_} and {reacher}" in said


def test_long_training() -> None:
    said = prose("docs/residual.md")
    names = ("residual", "finetune of the dynamics", "replacement", "finetune of everything")
    own = {name: curves("offline-long", "pendulum-reversed", name) for name in names}
    end = {name: f"{curve[:, -3:].mean():.0f}" for name, curve in own.items()}
    low = [f"{curve[:, 2:].min():.0f}" for curve in own.values()]
    assert f"the residual is at {end['residual']} of 412, a finetune of the dynamics at {end[names[1]]}" in said
    assert f"a replacement at {end[names[2]]}, a finetune of everything at {end[names[3]]}" in said
    assert (
        f"no measurement of it is below {low[0]}, of the others the lowest are {low[1]}, {low[2]} and {low[3]}" in said
    )
    cup = {name: f"{curves('offline-long', 'cup-windy', name)[:, -3:].mean():.0f}" for name in names}
    best = f"{curves('offline-long', 'cup-windy', 'oracle').mean():.0f}"
    assert f"the residual is at {cup[names[0]]} of {best}, a finetune of everything at {cup[names[3]]}" in said
    assert f"of the dynamics at {cup[names[1]]}, new dynamics at {cup[names[2]]}" in said


def test_choices_around_the_residual() -> None:
    cases, said = found("offline-choices")["pairs"]["pendulum-reversed"], prose("docs/residual.md")
    end = {name: f"{case['final']['value']:.0f}" for name, case in cases.items()}
    wide = {name: "[{low:.0f}, {high:.0f}]".format(**case["final"]) for name, case in cases.items()}
    fresh = sorted(curves("offline-choices", "pendulum-reversed", "fresh actor")[:, -3:].mean(1))
    for sentence in (
        f"The default is at {end['residual']} of {end['oracle']}; without the belief as an input "
        f"{end['without the belief']}, from a random output layer {end['random output layer']}, with 64 instead of 256 "
        f"units {end['width 64']}, with corrected probabilities that are never mixed with the uniform ones "
        f"{end['never mixed with uniform']}.",
        f"dreams from all latents alike, {end['dreams from all latents alike']}, which lose the cup",
        f"a policy that trains from the start, {end['policy from the start']}, a fresh critic, {end['fresh critic']}, "
        f"or deploying the last policy instead of an average over them, {end['not averaged']}.",
        f"four seeds end alike ({fresh[1]:.0f} to {fresh[-1]:.0f}) and one stays at the bottom, {end['fresh actor']} "
        f"{wide['fresh actor']}, and with the source's actor as it is all are at {end['warm actor']} "
        f"{wide['warm actor']}.",
    ):
        assert sentence in said


def test_less_of_everything() -> None:
    cases = found("offline-choices")["pairs"]["pendulum-reversed"]
    choice = {method: f"{case['final']['value']:.0f}" for method, case in cases.items()}
    assert (
        f"with 64 units is at {choice['width 64']} of {choice['oracle']}, with dreams of 5 steps instead of 15 at "
        f"{choice['dreams of 5 steps']}, with dreams from 16 latents instead of 64 at "
        f"{choice['dreams from 16 latents']}"
    ) in prose("docs/residual.md")
    assert f"From 40,000 the residual makes {choice['residual']} on the pendulum." in prose("docs/residual.md")


def test_what_recordings_are_worth() -> None:
    said, pairs = prose("docs/residual.md"), found("offline-data")["pairs"]
    names = ("residual", "finetune of the dynamics", "finetune of everything", "replacement")

    def cell(pair: str, case: str) -> str:
        if case not in pairs[pair]:
            return "–"
        return "{value:.0f} [{low:.0f}, {high:.0f}]".format(**pairs[pair][case]["final"])

    for pair, label, kinds in (
        ("pendulum-reversed", "pendulum", names),
        ("reacher-reversed", "reacher", (names[0], names[3])),
    ):
        best = f"{pairs[pair]['oracle']['final']['value']:.0f}"
        for kind in kinds:
            first = f"{label} ({best})" if kind == "residual" else ""
            cells = (first, kind, *(cell(pair, f"{kind}, {n} mixed") for n in ("10,000", "4,000", "1,000")))
            assert f"| {' | '.join(cells)} |".replace("|  |", "| |") in said
    own = {m: f"{c['final']['value']:.0f}" for m, c in pairs["pendulum-reversed"].items()}
    assert (
        f"of 40,000 transitions of the expert alone the pendulum's residual makes {own['residual, 40,000 expert']} and "
        f"a finetune of the dynamics {own['finetune of the dynamics, 40,000 expert']}; of random ones "
        f"{own['residual, 40,000 random']}; with three parts in ten of what the source's agent fails at, "
        f"{own['residual, 40,000 with failures']}"
    ) in said
    ends = [curves("offline-data", "pendulum-reversed", f"{kind}, 1,000 mixed")[:, -3:].mean(1) for kind in names]
    assert f"seeds end anywhere from {np.min(ends):.0f} to {np.max(ends):.0f}." in said


def card(name: str) -> dict[str, Any]:
    """What is written beside a shipped agent."""
    return json.loads((zoo.ROOT / name / "card.json").read_text())


@pytest.mark.parametrize(
    ("task", "teacher", "student"),
    [
        ("cup", "draw-cup-catch-1", "draw-pixels-cup-catch-1"),
        ("cup, wind on the ball", "draw-cup-windy-1", "draw-cup-windy-pixels-1"),
        ("reacher", "draw-reacher-easy-1", "draw-pixels-reacher-easy-1"),
        ("reacher, reversed", "draw-reacher-reversed-1", "draw-reacher-reversed-pixels-1"),
    ],
)
def test_eyes_for_an_agent_of_states(task: str, teacher: str, student: str) -> None:
    known, sees = card(teacher), card(student)
    assert sees["training"]["teacher"] == teacher
    cells = (
        f"{sees['agent_steps']:,}",
        f"{sees['updates']:,}",
        *(f"{c['evaluation']['mean']:.0f}" for c in (known, sees)),
    )
    assert f"| {' | '.join((task, *cells))} |" in prose("docs/residual.md")


def test_what_a_student_never_saw() -> None:
    pairs, states = found("offline-pixels")["pairs"], found("offline-methods")["pairs"]
    names = ("reacher-reversed", "cup-windy")
    said, known = prose("docs/residual.md"), [f"{states[name]['residual']['final']['value']:.0f}" for name in names]
    reacher, cup = (
        "{value:.0f} [{low:.0f}, {high:.0f}]".format(**own["residual"]["final"])
        + " of {:.0f} (zero-shot {:.0f})".format(*(own[case]["final"]["value"] for case in ("oracle", "zero-shot")))
        for own in (pairs[f"{name}-pixels"] for name in names)
    )
    assert f"**After the residual the reacher is at {reacher}, the cup at {cup}**" in said
    assert f"From states as many recordings give {known[0]} and {known[1]}." in said
    halves = [pairs[f"{name}-pixels"]["residual, half of 40,000 its own"] for name in names]
    reacher, cup = (
        "{value:.0f} [{low:.0f}, {high:.0f}]".format(**each["final"])
        + f", {percent(each['share'])} %{' of its oracle' * (each is halves[0])}"
        for each in halves
    )
    ends = sorted(curves("offline-pixels", "cup-windy-pixels", "residual, half of 40,000 its own")[:, -3:].mean(1))
    assert (
        f"**the reacher is at {reacher}, and the cup at {cup}**: four of its seeds are at {ends[1]:.0f} to "
        f"{ends[-1]:.0f}, and one, whose agent had caught nothing by the time it recorded, stays at {ends[0]:.0f}."
    ) in said
    shares = [percent(pairs[f"{name}-pixels"]["residual"]["share"]) for name in names]
    own = [percent(half["share"]) for half in halves]
    assert (
        f"reacher and cup reach {shares[0]} and {shares[1]} % of their oracles, with half of the 40,000 their own "
        f"{own[0]} and {own[1]} %"
    ) in prose()


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
    ) in prose("docs/pretraining.md")
    assert f"is at {min(spun):.0f} to {max(spun):.0f} from 64,000 decisions to the end" in prose("docs/pretraining.md")
    early = f"{half[120_000]:.0f} after 120,000 decisions, as was the task's policy alone ({task_later[120_000]:.0f})"
    assert f"half and half was at {early}" in prose("docs/pretraining.md")


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
    ) in prose("docs/pretraining.md")
    said = f"it is at {max(least.values()):.0f} at best, and at {least[240_000]:.0f} at the end."
    assert said in prose("docs/pretraining.md")


@pytest.mark.parametrize("method", ["residual", "finetune of the dynamics", "replacement", "finetune of everything"])
def test_ways_of_adapting_on_the_data_that_serve_best(method: str) -> None:
    pairs, order = found("offline-own")["pairs"], ("pendulum-reversed", "reacher-reversed", "cup-windy", FINGER)
    shares = [pairs[pair][f"{method}, half of 40,000 its own"]["share"] for pair in order]
    cells = " | ".join(percent(share) for share in [*shares, float(np.mean(shares))])
    assert f"| {method} | {cells} |" in prose("docs/residual.md")


def test_data_of_the_expert_alone_fail() -> None:
    pairs, order = found("offline-data")["pairs"], ("pendulum-reversed", "reacher-reversed", "cup-windy", FINGER)
    *most, last = [percent(pairs[pair]["residual, 40,000 expert"]["share"]) for pair in order]
    said = (
        f"Data of the expert alone fail, {', '.join(most)} and {last} % of the oracle (`offline-data`; whole episodes)"
    )
    assert said in prose("docs/residual.md")


def test_what_the_model_reads_while_it_adapts() -> None:
    """Against the written note: readings are compared while tables are made."""
    section = (ROOT / "docs/results.md").read_text(encoding="utf-8").split("\n## offline-own\n")[1].split("\n## ")[0]
    said = re.search(r"is (\d+) of 500 off in the mean, .*?correlation ([\d.]+) over", " ".join(section.split()))
    assert said
    assert f"{said[1]} off, correlation {said[2]} (`offline-own`)" in prose("docs/residual.md")


def test_learning_rates() -> None:
    said, pairs = prose("docs/residual.md"), found("offline-rates")["pairs"]
    tuned = [pairs[pair] for pair in ("cup-windy", "reacher-reversed")]
    cup, reacher = (f"{own['oracle']['final']['value']:.0f}" for own in tuned)
    rates = ("1e-3 after 1e-2", "1e-3 throughout", "3e-4 after 3e-3")
    assert f"| cup, of {cup}: {' | '.join(rates)} | reacher, of {reacher} | {' | '.join(rates[1:])} |" in said
    for way in ("residual", "finetune of the dynamics", "replacement", "finetune of everything"):
        cases = [(own, f"{way}, {rate}") for own in tuned for rate in rates]
        cells = [f"{own[case]['final']['value']:.0f}" if case in own else "–" for own, case in cases]
        assert f"| {way} | {' | '.join(cells)} |" in said
    own = found("offline-own")["pairs"]["cup-windy"]
    ends = {case.replace(", half of 40,000 its own", ""): f"{each['final']['value']:.0f}" for case, each in own.items()}
    lead, none = ("finetune of the dynamics", "residual"), ", 1e-3 throughout"
    assert (
        f"end at {ends[lead[0] + none]} with the finetune of the dynamics, where they end at {ends[lead[0]]} with the "
        f"fast lead, and at {ends[lead[1] + none]} with the residual, instead of {ends[lead[1]]}."
    ) in said
    slow = "finetune of everything, half of 40,000 its own, 3e-4 after 3e-3"
    value, best = "{value:.0f} [{low:.0f}, {high:.0f}]".format(**own[slow]["final"]), own["oracle"]["final"]["value"]
    before = ends["finetune of everything"]
    assert f"ends at {value} of {best:.0f}, {percent(own[slow]['share'])} %, instead of {before}." in said
    lost, kept = (
        each.max(1) - each[:, -1]
        for each in (curves("offline-own", "cup-windy", case) for case in (slow, "residual, half of 40,000 its own"))
    )
    assert (
        f"its five seeds end below their best, by {lost.min():.0f} to {lost.max():.0f} (the residual's by "
        f"{kept.min():.0f} to {kept.max():.0f})"
    ) in said
