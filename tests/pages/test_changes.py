"""Numbers in docs/reflex.md on what changes, how far and how fast, are those of the committed rows."""

from typing import Any

from written import against_frozen, found, percent, prose, section

PAGE = prose("docs/reflex.md")


def level(study: str, name: str, method: str) -> dict[str, Any]:
    return found(study)["levels"][name][method]


def recovered(study: str, name: str, method: str) -> str:
    return percent(level(study, name, method)["recovered"]["value"])


def kept(study: str, name: str, method: str, digits: int = 0) -> str:
    """Share of the nominal reward."""
    return f"{100 * level(study, name, method)['of_nominal']['value']:.{digits}f}"


def test_a_turn() -> None:
    notes = {
        line.split(": ")[0]: line.split() for line in section("point-mass").splitlines() if "at the end of a" in line
    }
    (paper, beside), (layered, other) = (
        (words[words.index("%") - 1], words[words.index("mm") - 1]) for words in (notes["paper"], notes["layered"])
    )
    assert f"*Paper mode* takes {paper} % of the deviation away within a phase" in PAGE
    assert f"when the turning ends, paths pass {beside} mm on the other side: the after-effect" in PAGE
    assert f"its network takes {layered} % of the deviation away" in PAGE
    assert f"When the turning ends, paths pass {other} mm on the other side for one episode." in PAGE
    rewards = {
        method: [percent(phase["reward"]["value"]) for phase in phases]
        for method, phases in found("point-mass")["methods"].items()
    }
    (_, left, _, right, _, again, _), frozen = rewards["layered"], rewards["frozen"]
    assert (
        f"at the end of a phase is {rewards['fast'][1]} % of the healthy body's, where the frozen agent has "
        f"{frozen[1]} and {frozen[3]} %."
    ) in PAGE
    assert (
        f"the healthy body's in every turn: {right} % where it is to the right (frozen {frozen[3]}), {left} and "
        f"{again} % where it is to the left (frozen {frozen[1]})."
    ) in PAGE


def test_how_large() -> None:
    modes = ("fast", "layered", "oracle")
    won = {(p, m): recovered("magnitude", f"gains up to, {p}", m) for p in (0.7, 0.8, 0.9) for m in modes}
    assert (
        f"it recovers {won[0.7, 'fast']} % where each motor is drawn from up to 0.7 weaker or stronger, "
        f"{won[0.8, 'fast']} % up to 0.8 and {won[0.9, 'fast']} % up to 0.9, where commands reach twice the policy's "
        f"range (there an oracle, too, recovers {won[0.9, 'oracle']} %). The layered mode recovers "
        f"{won[0.7, 'layered']}, {won[0.8, 'layered']} and {won[0.9, 'layered']} %."
    ) in PAGE
    power = section("magnitude").split("to the power of ")[1].split()[0]
    assert f"grows with the size to the power of {power}; theory says 2." in PAGE


def test_how_fast() -> None:
    speeds = ("the paper's speed", "10 x", "100 x")
    fast, layered = ([kept("drift", f"gains drift, {at}", m, 1) for at in speeds] for m in ("fast", "layered"))
    frozen = [kept("drift", f"gains drift, {at}", "frozen") for at in speeds]
    paper = [kept("drift", f"gains drift, {at}", "paper") for at in speeds[:2]]
    assert (
        f"at the speed of RWM's noise the fast reflex keeps {fast[0]} % of the nominal reward (frozen {frozen[0]}, "
        f"paper mode {paper[0]}), at ten times that speed {fast[1]} % ({frozen[1]} and {paper[1]}), at a hundred times "
        f"{fast[2]} % (frozen {frozen[2]})."
    ) in PAGE
    lost = level("drift", "gains drift, 100 x", "fast")["actuation"]["value"]
    assert f"(actuation error {lost:.2f})" in PAGE
    assert f"The layered mode keeps {layered[0]}, {layered[1]} and {layered[2]} %" in PAGE


def beyond(name: str, method: str) -> str:
    return kept("beyond-gains", name, method)


def gained(name: str, method: str, *, interval: bool = True) -> str:
    """Of the nominal reward against the frozen agent, in %."""
    value, low, high = (100 * against_frozen(method)[name][x] for x in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]" if interval else f"{value:.1f}"


def harmed(method: str, share: float) -> list[str]:
    """Changes under which a method loses more than a share of the nominal reward against the frozen agent."""
    return [change for change, won in against_frozen(method).items() if won["value"] < -share]


def overall(method: str) -> str:
    """Mean of all changes."""
    levels = found("beyond-gains")["levels"].values()
    return percent(sum(each[method]["of_nominal"]["value"] for each in levels) / len(levels))


def test_what_gains_undo() -> None:
    heavy, dead_zone = ([beyond(at, m) for m in ("frozen", "fast")] for at in ("body mass, x 2.0", "dead zone, 0.4"))
    assert f"({heavy[0]} % of the nominal reward frozen, {heavy[1]} % with the fast reflex)" in PAGE
    assert f"dead zones ({dead_zone[0]} to {dead_zone[1]} %)" in PAGE
    ankle = level("beyond-gains", "motor reversed, right ankle", "fast")["recovered"]
    won, low, high = (percent(ankle[x]) for x in ("value", "low", "high"))
    knee, hip, ankles, knees = (
        recovered("beyond-gains", f"motor reversed, {at}", "fast")
        for at in ("right knee", "right hip", "both ankles", "both knees")
    )
    assert (
        f"of what a reversed ankle costs {won} % [{low}, {high}] is recovered, of two {ankles} %, of a knee {knee} "
        f"%, of a hip {hip} and of both knees {knees} %"
    ) in PAGE


def test_harm_of_the_fast_mode() -> None:
    one, two = (gained(f"motor dead, {at}", "fast") for at in ("right ankle", "both ankles"))
    assert f"A dead ankle ({one} % of nominal against the frozen agent) and two of them ({two} %)" in PAGE
    assert set(harmed("fast", 0.02)) == {"motor dead, right ankle", "motor dead, both ankles"}


def test_what_the_layered_mode_adds() -> None:
    assert (
        f"it is at {overall('layered')} % of nominal (fast {overall('fast')}, frozen {overall('frozen')})"
    ) in PAGE  # fmt: skip
    names = ("legs longer, x 1.3", "gravity, x 1.6", "wind, -40 N", "joint damping, x 32")
    (legs, frozen_legs), (gravity, light), (wind, calm), (damping, free) = (
        (beyond(at, "layered"), beyond(at, "frozen")) for at in names
    )
    late, at_once = ([beyond(f"delay, {n} steps", m) for n in (1, 2, 3)] for m in ("layered", "frozen"))
    assert (
        f"legs longer by 30 % {legs} % (frozen {frozen_legs}), gravity x 1.6 {gravity} ({light}), wind of 40 N {wind} "
        f"({calm}), damping x 32 {damping} ({free}), delays of one, two and three steps {late[0]}, {late[1]} and "
        f"{late[2]} ({at_once[0]}, {at_once[1]}, {at_once[2]})"
    ) in PAGE


def test_harm_of_the_layered_mode() -> None:
    blind, stuck = "channels read 0, all velocities", "sticky motors, 0.5"
    knee, damping, slippery = "torque on a knee, 10 N·m", "joint damping, x 2", "friction, x 0.4"
    assert harmed("layered", 0.02) == []
    won = against_frozen("layered")
    assert min(won, key=lambda each: won[each]["value"]) == blind
    assert f"the greatest loss is where all velocities read 0, {gained(blind, 'layered')} %." in PAGE
    assert f"with a higher gate (below), are at {gained(stuck, 'layered')} %." in PAGE
    sure = {change for change, each in won.items() if each["high"] < -0.0005}
    assert sure == {knee, damping, slippery}
    lost = [gained(at, "layered") for at in (knee, damping, slippery)]
    assert (
        f"a torque of 10 N·m on a knee, {lost[0]} %, doubled damping, {lost[1]} %, and less than half of the friction, "
        f"{lost[2]} %."
    ) in PAGE


def test_caution() -> None:
    cautious = "fast, cautious"
    worst = {m: 100 * min(won["value"] for won in against_frozen(m).values()) for m in ("fast", cautious)}
    assert f"the worst harm is {worst[cautious]:.1f} instead of {worst['fast']:.1f} %" in PAGE
    reversed_, others = (
        [beyond(at, m) for at in names for m in (cautious, "fast")]
        for names in (
            ("motor reversed, right hip", "motor reversed, both knees", "motor reversed, both ankles"),
            ("dead zone, 0.4", "motor reversed, right knee", "motor dead, right knee"),
        )
    )
    assert (
        "a reversed hip is at {} instead of {} % of nominal, both knees at {} instead of {}, both ankles at {} instead "
        "of {} %; but ".format(*reversed_)
        + "a dead zone of 0.4 is at {} instead of {} %, a reversed knee at {} instead of {}, a dead knee at {} instead "
        "of {}.".format(*others)
    ) in PAGE
    assert overall(cautious) == overall("fast")
    assert f"Over all 90 levels the two are both at {overall('fast')} % of nominal" in PAGE


def test_what_the_matched_fraction_says() -> None:
    note = section("beyond-gains").split("Over the ")[1].split()
    assert f"explains {note[note.index('explains') + 1]} % of the variance" in PAGE
    assert f"over the {note[0]} changes that cost more than 5 %" in PAGE


def test_an_encoder_of_the_faults() -> None:
    lines = [line.strip("| ").split(" | ") for line in section("beyond-gains").splitlines() if " | 6 x 90 |" in line]
    keeps = {cells[0]: percent(float(cells[1].split()[0])) for cells in lines}
    assert (
        f"it keeps {keeps['rma']} % of the healthy body's reward, as the fast reflex does (frozen {keeps['frozen']}, "
        f"layered {keeps['layered']})"
    ) in PAGE
    assert keeps["rma"] == keeps["fast"]
    noise = sorted(-float(gained(f"sensor noise, {at}", "rma", interval=False)) for at in (0.1, 0.2, 0.4))
    assert f"it loses {noise[0]:.0f} to {noise[-1]:.0f} %" in PAGE
