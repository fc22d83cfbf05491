"""Numbers in the prose of docs/reflex.md are those of the tables in docs/results.md, which are written from the rows.

The tables, not the rows: to bootstrap lives of 31,000 steps again takes minutes.
"""

from functools import cache

import pytest

from written import prose, section

PAGE = prose("docs/reflex.md")
Row = dict[str, str]


@cache
def written(study: str) -> dict[tuple[str, str], Row]:
    """The last table of a study, by body (where there are several) and method."""
    tables = [line for line in section(study).splitlines() if line[:2] == "| "]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables]
    heads = [i for i, cells in enumerate(lines) if set("".join(cells)) == {"-", ":"}]
    names = lines[heads[-1] - 1]
    rows = [dict(zip(names, cells, strict=True)) for cells in lines[heads[-1] + 1 :]]
    return {(row.get("body", row.get("agent", "")), row["method"]): row for row in rows}


def reward(study: str, method: str, body: str = "", per: int = 500) -> str:
    return written(study)[body, method][f"reward / {per} steps"]


def recovered(study: str, method: str, body: str = "", *, interval: bool = False) -> str:
    said = written(study)[body, method]["recovered"].removesuffix(" %")
    return said if interval else said.split()[0]


def wrong(study: str, method: str, body: str = "") -> str:
    """The actuation error, without its interval."""
    return written(study)[body, method]["actuation error"].split()[0]


BODIES = ("walker-walk", "cheetah-run", "hopper-hop", "cup-catch")


def lines_of_the_papers_tables() -> list[str]:
    """Lines of the table of RWM's tables beside ours, a column for each body."""
    table = written("paper-table")

    def line(words: str, method: str, column: str) -> str:
        cells = [table[body, method][column].removesuffix(" %") for body in BODIES]
        return f"| {words} | {' | '.join(cells)} |"

    way, error = "paper, on the way", "less of it"
    return [
        line("**reward recovered, %**: RWM's tables", "paper", "RWM: recovered"),
        line("a step an episode, the published step size", "published", "recovered"),
        line("a step an episode", "paper", "recovered"),
        line("a step an episode, second half", "paper", "in the second half"),
        line("on the way", way, "recovered"),
        line("on the way, second half", way, "in the second half"),
        line("fast", "fast", "recovered"),
        line("**control error taken off, %**: RWM's tables", "paper", "RWM: less of it"),
        line("a step an episode", "paper", error),
        line("on the way", way, error),
        line("fast", "fast", error),
        line("oracle", "oracle", error),
        line("**fallen episodes, %**: frozen", "frozen", "fallen"),
        line("a step an episode", "paper", "fallen"),
        line("on the way", way, "fallen"),
        line("fast", "fast", "fallen"),
    ]


def test_the_papers_tables() -> None:
    assert " ".join(lines_of_the_papers_tables()) in PAGE
    table, way = written("paper-table"), written("paper-table")["walker-walk", "paper, on the way"]
    assert (
        f"on the walker, {way['recovered']} of {way['RWM: recovered'].removesuffix(' %')}: what is missing is the "
        f"first minute, over the second half of the phase it is at {way['in the second half']}."
    ) in PAGE
    for body in BODIES:
        row = table[body, "paper, on the way"]
        won, _, high = (float(word.strip("[],")) for word in row["recovered"].removesuffix(" %").split())
        paper = float(row["RWM: recovered"].removesuffix(" %"))
        assert high >= paper
        assert (won < paper) == (body == "walker-walk")
    frozen, healthy = (float(table["walker-walk", m]["control error, 1e-5"]) for m in ("frozen", "nominal"))
    assert (
        f"of the frozen agent's {frozen:.0f} (in 1e-5) {healthy:.0f} are the healthy body's own, and an oracle takes "
        f"{table['walker-walk', 'oracle']['less of it'].split()[0]} % away."
    ) in PAGE
    assert f"on the cup, at {table['cup-catch', 'fast']['recovered'].split()[0]} %," in PAGE


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ("as published (three predicted steps; our step size)", "paper"),
        ("one predicted step", "paper, horizon 1"),
        ("five", "paper, horizon 5"),
        ("the correction sees the base action, too", "paper, sees a0"),
        ("the correction is k · a0 + b, nothing else", "paper, gains"),
        ("Gauss-Newton directions", "paper, preconditioned"),
        ("a step every five agent steps", "paper, on the way"),
    ],
)
def test_what_of_paper_mode_matters(words: str, method: str) -> None:
    row = written("update-laws")["", method]
    times = [row[f"{share} % after"].split()[0] for share in (50, 90)]
    won = recovered("update-laws", method, interval=True)
    assert (f"| {words} | {won} % | {times[0]} s | {times[1]} s | {wrong('update-laws', method)} |") in PAGE


@pytest.mark.parametrize(
    ("words", "space"),
    [
        ("the agent's latent and its own model", ""),
        ("the agent's latent, refitted", ", fitted latent"),
        ("an untrained encoder's latent", ", random latent"),
        ("the observation", ", raw observation"),
    ],
)
def test_where_errors_are_measured(words: str, space: str) -> None:
    cells = [
        f"{recovered('latents', mode + space, interval=True)} % | {wrong('latents', mode + space)}"
        for mode in ("paper", "fast")
    ]
    assert f"| {words} | {cells[0]} | {cells[1]} |" in PAGE


def test_under_a_planner() -> None:
    planned = [reward("planner", f"{method}, planner") for method in ("nominal", "frozen", "fast")]
    alone = [reward("planner", method) for method in ("nominal", "frozen", "fast")]
    assert (
        f"the frozen agent loses {planned[0]} to {planned[1]}, and the fast reflex is at {planned[2]}; with the policy "
        f"alone {alone[0]} to {alone[1]}, and {alone[2]}."
    ) in PAGE
    errors = [wrong("planner", method) for method in ("fast, planner", "fast")]
    assert f"(actuation error {errors[0]}, against {errors[1]})" in PAGE
    own = "fast, planner, own calibration"
    assert (
        f"Calibrated as the agent acts with the planner, it is at {reward('planner', own)}, where an oracle is at "
        f"{reward('planner', 'oracle, planner')}, and the actuation error is {wrong('planner', own)}."
    ) in PAGE


def test_training_on_instead() -> None:
    plain, hardened = (
        {
            method: reward("finetune", method, body, per=200)
            for method in ("nominal", "frozen", "fast", "finetune", "finetune, kept buffer")
        }
        for body in ("walker-walk", "walker-walk-randomised")
    )
    assert (
        f"({plain['finetune']} of {plain['nominal']} a 200 steps; frozen {plain['frozen']}), where the fast reflex is "
        f"at {plain['fast']}. With a kept buffer, of the healthy body's transitions, it loses less, but loses, too: "
        f"{plain['finetune, kept buffer']}."
    ) in PAGE
    assert f"loses less to the same faults, {hardened['nominal']} to {hardened['frozen']}" in PAGE
    assert (
        f"The fast reflex brings it back to {hardened['fast']}, and the plain walker to {plain['fast']}. Trained on in "
        f"the changed body, it falls to {hardened['finetune']} within those three minutes, with a kept buffer to "
        f"{hardened['finetune, kept buffer']}."
    ) in PAGE
    names = ("nominal", "frozen", "finetune", "finetune, kept buffer", "fast")
    cup, cheetah, hopper = (
        [reward("finetune", m, body, per=200) for m in names] for body in ("cup-catch", "cheetah-run", "hopper-hop")
    )
    assert (
        f"of {cup[0]} a 200 steps the frozen cup keeps {cup[1]}, after training on {cup[2]}, with a kept buffer "
        f"{cup[3]}, with the fast reflex {cup[4]}; the cheetah of {cheetah[0]} {cheetah[1]}, {cheetah[2]}, "
        f"{cheetah[3]} and {cheetah[4]}, the hopper of {hopper[0]} {hopper[1]}, {hopper[2]}, {hopper[3]} and "
        f"{hopper[4]}."
    ) in PAGE


def test_late_commands() -> None:
    bodies = ("walker-walk", "cheetah-run", "cup-catch")
    levels = [[reward("delays", method, body) for method in ("nominal", "frozen", "layered")] for body in bodies]
    (walker, cheetah, cup), won = levels, [recovered("delays", "layered", body, interval=True) for body in bodies]
    fast = [recovered("delays", "fast", body) for body in bodies]
    assert (
        f"Of {walker[0]} a 500 steps the frozen walker keeps {walker[1]}, and with the predictor {walker[2]}; the "
        f"cheetah keeps {cheetah[1]} of {cheetah[0]}, and {cheetah[2]}; the cup {cup[1]} of {cup[0]}, and {cup[2]}: "
        f"{won[0]}, {won[1]} and {won[2]} % of what was lost are back"
    ) in PAGE
    assert f"The fast reflex wins {fast[0]}, {fast[1]} and {fast[2]} %." in PAGE


def test_whether_an_agent_needs_a_cost() -> None:
    cost, free, plain = "walker-walk", "walker-walk-no-cost", "walker-walk-quadratic-cost"
    won = {
        (body, method): recovered("action-cost", method, body, interval=method.startswith("fast"))
        for body in (cost, free, plain)
        for method in ("fast", "fast, no headroom", "oracle", "oracle, no headroom")
    }
    assert (
        f"the fast reflex recovers {won[free, 'fast']} % without the cost (an oracle {won[free, 'oracle']}) and "
        f"{won[cost, 'fast']} % with it. Within the policy's own range it still recovers "
        f"{won[cost, 'fast, no headroom']} % with the cost, whose actions leave room by themselves, and "
        f"{won[free, 'fast, no headroom']} % without (an oracle {won[free, 'oracle, no headroom']})"
    ) in PAGE
    assert (
        f"With room the fast reflex recovers {won[plain, 'fast']} %; within the range "
        f"{won[plain, 'fast, no headroom']} % (an oracle {won[plain, 'oracle, no headroom']})"
    ) in PAGE
    saturated = [written("action-cost")[body, "nominal"]["base actions saturated"] for body in (free, cost)]
    assert f"bang-bang: {saturated[0]} of its actions are saturated (with it {saturated[1]})" in PAGE
    gradient = [written("action-cost")[body, "frozen"]["gradient"] for body in (free, cost)]
    assert f"as large without the cost ({gradient[0]}) as with it ({gradient[1]})" in PAGE


def test_a_classical_add_on_and_an_encoder() -> None:
    bodies = ("walker-walk", "cheetah-run", "cup-catch")
    l1, fast = ([recovered("step-gains", method, body) for body in bodies] for method in ("l1", "fast"))
    assert float(l1[1]) <= 0
    assert (
        f"It recovers {l1[0]} % on walkers, nothing on the cheetah, {l1[2]} % on the cup (`step-gains`), where the "
        f"fast reflex recovers {fast[0]}, {fast[1]} and {fast[2]} %."
    ) in PAGE
    rma = [recovered("step-gains", "rma", body, interval=True) for body in bodies]
    read, found = ([wrong("step-gains", m, body) for body in bodies] for m in ("rma", "fast"))
    assert (
        f"it recovers {rma[0]} % on walkers, {rma[1]} % on the cheetah and {rma[2]} % on the cup, at once, and so "
        f"little is left to gain; but what is wrong at the motors is down to {read[0]}, {read[1]} and {read[2]} of the "
        f"fault's and stays there, where the fast reflex, which had no fault in its calibration, comes to {found[0]}, "
        f"{found[1]} and {found[2]}."
    ) in PAGE
