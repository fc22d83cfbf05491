"""Numbers in the prose of docs/residual.md are those of the committed rows and cards."""

import re

import numpy as np
import pytest

from written import (
    PAIRS,
    RATES,
    at_its_own,
    at_ours,
    card,
    curves,
    found,
    interval,
    of_oracle,
    percent,
    prose,
    section,
)

PAGE = prose("docs/residual.md")
REVERSED, REACHER, CUP, FINGER = PAIRS
TASKS = ("pendulum-swingup", "reacher-easy", "cup-catch", "finger-turn-hard")
WAYS = ("residual", "finetune of the dynamics", "replacement", "finetune of everything")


def listed(method: str) -> str:
    """Shares of the oracle on each pair, in percent, as a list in words."""
    *most, last = [percent(each[method]["share"]) for each in found("offline-methods")["pairs"].values()]
    return f"{', '.join(most)} and {last} %"


def test_ways_of_adapting() -> None:
    pairs = found("offline-methods")["pairs"]
    pendulum, reacher, cup, finger = (
        "{}, {} and {} %".format(*(percent(each[m]["share"]) for m in WAYS[:3])) for each in pairs.values()
    )
    assert (
        f"at {pendulum.replace(' %', '')} % of the oracle's return on the pendulum, at {reacher} on the reacher" in PAGE
    )
    assert f"at {cup} on the cup" in PAGE and f"at {finger} on the finger" in PAGE
    assert f"({listed('finetune of everything')})" in PAGE and f"({listed('residual as published')}; a likely" in PAGE


def test_the_recurrent_model_and_domain_randomisation() -> None:
    pairs = found("offline-methods")["pairs"]
    finetune = "finetune of the recurrent model"
    mean = curves("offline-methods", REVERSED, finetune).mean(0)
    assert f"is at {mean.max():.0f} of 407 after 1,500 updates and falls to {mean[-1]:.0f} after 3,000" in PAGE
    assert int(np.argmax(mean)) == 3 and len(mean) == 7, "measured every 500 updates"
    shipped = [f"{card(f'rssm-{task}-1')['evaluation']['mean']:.0f}" for task in TASKS]
    assert "reached {}, on the reacher {}, on the cup {}, and on the finger,".format(*shipped) in PAGE
    states = card(f"draw-{TASKS[-1]}-1")["evaluation"]["mean"]
    assert f"{shipped[-1]}, where the agent of states is at {states:.0f}." in PAGE
    finals = {pair: {m: each["final"]["value"] for m, each in own.items()} for pair, own in pairs.items()}
    assert [pair for pair, own in finals.items() if max(own, key=lambda m: own[m]) == finetune] == [REACHER]
    _, reacher, cup, finger = ([f"{own[m]:.0f}" for m in (finetune, "oracle", "residual")] for own in finals.values())
    assert "it ends at {} of {}, above all else that the same recordings give (residual {})".format(*reacher) in PAGE
    lowest = curves("offline-methods", CUP, finetune)[:, -1].min()
    assert (
        f"cup it ends at {cup[0]} of {cup[1]}, one seed at {lowest:.0f}, and on the finger at {finger[0]} of "
        f"{finger[1]}, where the residual is at {cup[2]} and {finger[2]}."
    ) in PAGE
    ends = {
        pair: [each[m]["final"]["value"] for m in ("domain randomisation", "oracle")] for pair, each in pairs.items()
    }
    reversed_, reacher, cup, finger = ("{:.0f} of {:.0f}".format(*each) for each in ends.values())
    assert f"on the cup it reaches {cup}, on the finger {finger}" in PAGE
    assert f"it ends at {reversed_} and {reacher}" in PAGE


@pytest.mark.parametrize("method", WAYS)
def test_ways_of_adapting_on_the_data_that_serve_best(method: str) -> None:
    assert f"| {method} | {' | '.join(of_oracle(at_ours(method)))} |" in PAGE.split("### Learning rates")[0]


def test_data_of_the_expert_alone_fail() -> None:
    pairs = found("offline-data")["pairs"]
    *most, last = [percent(pairs[pair]["residual, 40,000 expert"]["share"]) for pair in PAIRS]
    assert (
        f"Data of the expert alone fail, {', '.join(most)} and {last} % of the oracle (`offline-data`; whole episodes)"
    ) in PAGE


def test_four_turns_of_the_finger() -> None:
    more = found("offline-own")["pairs"][FINGER]["residual, half of 4,000 its own in four turns, 6,000 updates"]
    assert (
        f"On the finger a second half in four turns of 500, with 3,000 updates before each, gives "
        f"{interval(more['final'])}, {percent(more['share'])} %"
    ) in PAGE


def test_long_training() -> None:
    own = {name: curves("offline-long", REVERSED, name) for name in WAYS}
    end = {name: f"{curve[:, -3:].mean():.0f}" for name, curve in own.items()}
    low = [f"{curve[:, 2:].min():.0f}" for curve in own.values()]
    assert f"the residual is at {end['residual']} of 412, a finetune of the dynamics at {end[WAYS[1]]}" in PAGE
    assert f"a replacement at {end[WAYS[2]]}, a finetune of everything at {end[WAYS[3]]}" in PAGE
    assert (
        f"no measurement of it is below {low[0]}, of the others the lowest are {low[1]}, {low[2]} and {low[3]}" in PAGE
    )
    cup = {name: f"{curves('offline-long', CUP, name)[:, -3:].mean():.0f}" for name in WAYS}
    best = f"{curves('offline-long', CUP, 'oracle').mean():.0f}"
    assert f"the residual is at {cup[WAYS[0]]} of {best}, a finetune of everything at {cup[WAYS[3]]}" in PAGE
    assert f"of the dynamics at {cup[WAYS[1]]}, new dynamics at {cup[WAYS[2]]}" in PAGE


def test_learning_rates() -> None:
    tuned = [found("offline-rates")["pairs"][pair] for pair in (CUP, REACHER)]
    cup, reacher = (f"{own['oracle']['final']['value']:.0f}" for own in tuned)
    assert f"| cup, of {cup}: {' | '.join(RATES)} | reacher, of {reacher} | {' | '.join(RATES[1:])} |" in PAGE
    for way in WAYS:
        cells = [f"{own[f'{way}, {rates}']['final']['value']:.0f}" for own in tuned for rates in RATES]
        assert f"| {way} | {' | '.join(cells)} |" in PAGE


@pytest.mark.parametrize("way", WAYS)
def test_each_at_learning_rates_of_its_own(way: str) -> None:
    assert f"| {way} | {' | '.join(of_oracle(at_its_own(way)))} |" in PAGE.split("### Learning rates")[1]


def test_what_a_finetune_of_everything_loses_again() -> None:
    lost, kept = (
        each.max(1) - each[:, -1]
        for each in (
            np.concatenate([curves("offline-own", pair, f"{way}, half of 40,000 its own{rates}") for pair in PAIRS])
            for way, rates in ((WAYS[3], f", {RATES[2]}"), (WAYS[0], ""))
        )
    )
    assert (
        f"Of its twenty runs {(lost > 50).sum()} end more than 50 below their best, by {lost.max():.0f} at most, of "
        f"the residual's {(kept > 50).sum() or 'none'} (by {kept.max():.0f} at most)"
    ) in PAGE


def test_less_of_everything() -> None:
    cases = found("offline-choices")["pairs"][REVERSED]
    choice = {method: f"{case['final']['value']:.0f}" for method, case in cases.items()}
    assert (
        f"with 64 units is at {choice['width 64']} of {choice['oracle']}, with dreams of 5 steps instead of 15 at "
        f"{choice['dreams of 5 steps']}, with dreams from 16 latents instead of 64 at "
        f"{choice['dreams from 16 latents']}"
    ) in PAGE
    assert f"From 40,000 the residual makes {choice['residual']} on the pendulum." in PAGE


def test_choices_around_the_residual() -> None:
    cases = found("offline-choices")["pairs"][REVERSED]
    end = {name: f"{case['final']['value']:.0f}" for name, case in cases.items()}
    wide = {name: "[{low:.0f}, {high:.0f}]".format(**case["final"]) for name, case in cases.items()}
    fresh = sorted(curves("offline-choices", REVERSED, "fresh actor")[:, -3:].mean(1))
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
        assert sentence in PAGE


def test_what_recordings_are_worth() -> None:
    pairs = found("offline-data")["pairs"]
    names = (*WAYS[:2], "finetune of everything", "replacement")

    def cell(pair: str, case: str) -> str:
        return interval(pairs[pair][case]["final"]) if case in pairs[pair] else "–"

    for pair, label, kinds in ((REVERSED, "pendulum", names), (REACHER, "reacher", ("residual", "replacement"))):
        best = f"{pairs[pair]['oracle']['final']['value']:.0f}"
        for kind in kinds:
            first = f"{label} ({best})" if kind == "residual" else ""
            cells = (first, kind, *(cell(pair, f"{kind}, {n} mixed") for n in ("10,000", "4,000", "1,000")))
            assert f"| {' | '.join(cells)} |".replace("|  |", "| |") in PAGE
    own = {m: f"{c['final']['value']:.0f}" for m, c in pairs[REVERSED].items()}
    assert (
        f"of 40,000 transitions of the expert alone the pendulum's residual makes {own['residual, 40,000 expert']} and "
        f"a finetune of the dynamics {own['finetune of the dynamics, 40,000 expert']}; of random ones "
        f"{own['residual, 40,000 random']}; with three parts in ten of what the source's agent fails at, "
        f"{own['residual, 40,000 with failures']}"
    ) in PAGE
    ends = [curves("offline-data", REVERSED, f"{kind}, 1,000 mixed")[:, -3:].mean(1) for kind in names]
    assert f"seeds end anywhere from {np.min(ends):.0f} to {np.max(ends):.0f}." in PAGE


def test_how_little_computing_is_enough() -> None:
    small, whole = found("offline-small")["pairs"], found("offline-own")["pairs"]

    def at(pair: str, steps: int, latents: int) -> str:
        return f"{small[pair][f'dreams of {steps} steps from {latents} latents']['final']['value']:.0f}"

    usual, reacher, cup, finger = (
        f"{whole[pair]['residual, half of 40,000 its own']['final']['value']:.0f}" for pair in PAIRS
    )
    less, least = [at(pair, 10, 32) for pair in (REACHER, CUP)], [at(pair, 5, 16) for pair in (REACHER, CUP, FINGER)]
    assert (
        f"dreams of 10 steps from 32 latents leave the reacher at {less[0]} instead of {reacher} and the cup at "
        f"{less[1]} instead of {cup}; dreams of 5 steps from 16 at {least[0]} and {least[1]}, and the finger at "
        f"{least[2]} instead of {finger} (`offline-small`). The pendulum is at {at(REVERSED, 10, 32)} and "
        f"{at(REVERSED, 5, 16)} with them, instead of {usual}."
    ) in PAGE


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
    assert f"| {' | '.join((task, *cells))} |" in PAGE


def test_what_a_student_never_saw() -> None:
    pairs, states = found("offline-pixels")["pairs"], found("offline-methods")["pairs"]
    known = [f"{states[name]['residual']['final']['value']:.0f}" for name in (REACHER, CUP)]
    reacher, cup = (
        interval(own["residual"]["final"])
        + " of {:.0f} (zero-shot {:.0f})".format(*(own[case]["final"]["value"] for case in ("oracle", "zero-shot")))
        for own in (pairs[f"{name}-pixels"] for name in (REACHER, CUP))
    )
    assert f"**After the residual the reacher is at {reacher}, the cup at {cup}**" in PAGE
    assert f"From states as many recordings give {known[0]} and {known[1]}." in PAGE
    halves = [pairs[f"{name}-pixels"]["residual, half of 40,000 its own"] for name in (REACHER, CUP)]
    reacher, cup = (
        f"{interval(each['final'])}, {percent(each['share'])} %{' of its oracle' * (each is halves[0])}"
        for each in halves
    )
    ends = sorted(curves("offline-pixels", "cup-windy-pixels", "residual, half of 40,000 its own")[:, -3:].mean(1))
    assert (
        f"**the reacher is at {reacher}, and the cup at {cup}**: four of its seeds are at {ends[1]:.0f} to "
        f"{ends[-1]:.0f}, and one, whose agent had caught nothing by the time it recorded, stays at {ends[0]:.0f}."
    ) in PAGE


def test_what_the_model_reads_while_it_adapts() -> None:
    """Against the written note: readings are compared while tables are made."""
    written = " ".join(section("offline-own").split())
    said = re.search(r"is (\d+) of 500 off in the mean, .*?correlation ([\d.]+) over", written)
    assert said
    assert f"{said[1]} off, correlation {said[2]} (`offline-own`)" in PAGE
