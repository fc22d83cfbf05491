"""Offline studies and the demo's second act: the same data for every case, sound summaries, a run from end to end."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from worldshift import zoo
from worldshift.adapt.offline import OfflineConfig
from worldshift.agents.imagination import ActorCriticConfig
from worldshift.cli.results_verb import findings
from worldshift.models.vision import PIXELS
from worldshift.run.offline import adapt
from worldshift.run.offline.demo import ResidualDemo, residual_demo
from worldshift.run.offline.dreams import POSES, dream, pictures
from worldshift.run.offline.target_data import oracle_of, own_data, target_data
from worldshift.run.online.protocol import read_rows
from worldshift.run.pairs import PAIRS, pair_of
from worldshift.studies.contract import Evidence
from worldshift.studies.declared import STUDIES
from worldshift.studies.offline import Case, OfflineStudy, agent_of, by_case
from worldshift.studies.runner import run_study
from worldshift.studies.sections import drawn

AGENT = "draw-pendulum-swingup-1"
SMALL = OfflineConfig(lead=1, batch=4, length=8, starts=8, policy=ActorCriticConfig(horizon=3))
CASES = (Case("zero-shot"), Case("residual", SMALL, transitions=1000), Case("oracle", measured="oracle"))
STUDY = OfflineStudy("small", "a test", (AGENT,), CASES, updates=4, seeds=(1, 2), measure_every=2, episodes=1)
PENDULUM = PAIRS["pendulum-reversed"]


def row(method, seed, returns, errors=None):
    curve = {"updates": list(range(len(returns))), "target_return": returns}
    return {"pair": "p", "method": method, "seed": seed, "curve": curve | ({"held_out_kl": errors} if errors else {})}


def test_summaries_by_hand():
    rows = [
        row("oracle", 1, [400.0]),
        row("oracle", 2, [200.0]),
        row("residual", 1, [0.0, 90.0, 120.0, 150.0, 180.0], [9.0, 2.0, 1.0, 3.0, 4.0]),
        row("residual", 2, [0.0, 300.0, 240.0, 240.0, 240.0], [0.5, 1.0, 2.0, 3.0, 4.0]),
    ]
    found = by_case(rows)["p"]
    residual = found["residual"]
    assert residual.final.value == pytest.approx((150 + 240) / 2) and residual.final.runs == 2
    assert (residual.final.low, residual.final.high) == (150.0, 240.0)
    assert residual.best == pytest.approx((180 + 240) / 2), "of the mean over seeds, not the mean of the best"
    assert residual.picked == pytest.approx((120 + 300) / 2), "the measurement before any update does not count"
    assert residual.share == pytest.approx(195 / 300) and found["oracle"].share == 1.0
    assert found["oracle"].picked == found["oracle"].best == 300.0


def test_pairs_of_pixels():
    pair = pair_of("pixels:pendulum-swingup")
    assert pair.name == "pendulum-reversed-pixels" and pair.shift == PENDULUM.shift
    assert oracle_of(pair) == "draw-pendulum-reversed-pixels-1"
    with pytest.raises(ValueError, match="source of no pair"):
        pair_of("pixels:walker-walk")


def test_target_data_is_a_function_of_its_seed():
    one, again, other = (target_data(PENDULUM, "mixed", seed, 600) for seed in (1, 1, 2))
    target_data.cache_clear()
    afresh = target_data(PENDULUM, "mixed", 1, 600)
    assert one is again and one.transitions == 600
    assert all(np.array_equal(a.obs, b.obs) for a, b in zip(one.episodes, afresh.episodes, strict=True))
    assert not np.array_equal(one.episodes[0].obs, other.episodes[0].obs)
    assert all(e.reward is None for e in one.episodes)


def test_failures_are_recorded_by_the_agent_of_the_source():
    both, ours = target_data(PENDULUM, "failures", 1, 600), target_data(PENDULUM, "mixed", 1, 420)
    assert both.transitions == 600 and ours.transitions == 420
    for one, other in zip(both.episodes, ours.episodes, strict=False):
        np.testing.assert_array_equal(one.obs, other.obs)
    assert target_data(PENDULUM, "failures", 1, 600) is both


def test_half_of_the_data_is_recorded_by_what_was_adapted_to_the_other_half(monkeypatch):
    real, given, updates = adapt._once, [], []

    def watched(source, data, config, count, *rest):
        updates.append(count)
        given.append((source, data[0]))
        found = real(source, data, config, count, *rest)
        given.append(found[0].agent)
        return found

    monkeypatch.setattr(adapt, "_once", watched)
    case = Case("own", SMALL, transitions=1000, recordings=2)
    rows, _ = replace(STUDY, cases=(case,), seeds=(1,)).run_pair(AGENT, "own", lambda _: None)
    (source, first), adapted, (again, both), _ = given
    assert updates == [2, 4], "half of them before it records"
    assert source is again and rows[0]["curve"]["updates"] == [0, 2, 4]
    assert (first.transitions, both.transitions) == (500, 1000) and both.episodes[:5] == first.episodes
    theirs = own_data(PENDULUM.task, PENDULUM.shift, adapted, 10_001, 500, 100)
    np.testing.assert_array_equal(both.episodes[5].action, theirs.episodes[0].action)


def test_agents_that_were_not_trained_are_left_out():
    cases = (*CASES, Case("randomised", measured="randomised"), Case("recurrent", recurrent=True))
    asked = replace(STUDY, cases=cases)
    assert [name for _, name in asked.pairs] == ["zero-shot", "residual", "oracle", "randomised", "recurrent"]
    assert agent_of(cases[-1], AGENT) == "rssm-pendulum-swingup-1"
    assert agent_of(cases[-2], "draw-cup-catch-1") == "draw-cup-windy-randomised-1"
    seeing = replace(asked, agents=("draw-pixels-reacher-easy-1",)).pairs
    assert [name for _, name in seeing] == ["zero-shot", "residual", "oracle"], "neither of the others sees images"


def test_cases_with_less_data_are_drawn_beside_the_bounds_alone():
    less = Case("less", SMALL, transitions=500)
    rows = [{"method": name} for name in ("zero-shot", "residual", "less", "oracle")]
    assert STUDY._by_amount(rows) == {"": rows}
    parts = replace(STUDY, cases=(*CASES, less))._by_amount(rows)
    assert list(parts) == ["\n1,000 transitions", "\nfewer"]
    assert [[row["method"] for row in part] for part in parts.values()] == [
        ["zero-shot", "residual", "oracle"],
        ["zero-shot", "less", "oracle"],
    ]


def test_a_study_runs_goes_on_and_is_drawn(tmp_path):
    path = run_study(STUDY, tmp_path, methods=["residual"])
    kept = read_rows(path)[1]
    told = []
    run_study(STUDY, tmp_path, report=lambda *x: told.append(x))
    header, rows = read_rows(path)
    assert rows[: len(kept)] == kept and len(rows) == 6 and told[-1] == (AGENT, "oracle", 8)
    residual = next(r for r in rows if r["method"] == "residual")
    assert residual["curve"]["updates"] == [0, 2, 4] and residual["pair"] == "pendulum-reversed"
    numbers = findings(Evidence(STUDY, header, rows))
    assert list(numbers["pairs"]["pendulum-reversed"]) == ["residual", "zero-shot", "oracle"] and json.dumps(numbers)
    figure = drawn(Evidence(STUDY, header, rows), tmp_path, tmp_path)
    assert figure
    with Image.open(figure) as picture:
        assert picture.size[0] > 600
    with pytest.raises(ValueError, match="another definition"):
        run_study(replace(STUDY, updates=6), tmp_path)
    changed = tuple(replace(c, transitions=500) if c.name == "residual" else c for c in CASES)
    with pytest.raises(ValueError, match="another definition"):
        run_study(replace(STUDY, cases=changed), tmp_path)


def test_cases_may_be_added_to_a_study_that_has_rows(tmp_path):
    first = replace(STUDY, cases=CASES[:1])
    path = run_study(first, tmp_path)
    kept = read_rows(path)[1]
    more = replace(STUDY, cases=(*CASES[:1], Case("oracle", measured="oracle")))
    header, rows = read_rows(run_study(more, tmp_path))
    assert rows[: len(kept)] == kept and {row["method"] for row in rows} == {CASES[0].name, "oracle"}
    assert set(header["definition"]["cases"]) == {CASES[0].name, "oracle"}


def test_every_case_of_the_shipped_studies_has_its_agents():
    for study in (s for s in STUDIES.values() if isinstance(s, OfflineStudy)):
        says_who_is_best = study.name not in ("offline-long", "offline-rates")
        assert len(set(study.methods)) == len(study.cases) and len(study.seeds) >= (5 if says_who_is_best else 2)
        for agent in study.agents:
            _, config = zoo.load_dreamer(agent)
            pair = pair_of(config["training"]["task"])
            _, oracle = zoo.load_dreamer(oracle_of(pair))
            assert json.loads(oracle["training"]["shift"])["kind"] == pair.shift.to_dict()["kind"]
        quick = study.quick()
        assert quick.updates < study.updates and quick.methods == study.methods


def test_only_sources_of_pairs_have_a_pair():
    assert all(pair_of(pair.task) is pair for pair in PAIRS.values())
    with pytest.raises(ValueError, match="walker-walk is the source of no pair"):
        pair_of("walker-walk")


def test_a_dream_begins_in_reality_and_is_drawn():
    agent, _ = zoo.load_dreamer(AGENT)
    episode = target_data(PENDULUM, "mixed", 1, 600).episodes[0]
    dreamt = dream(agent.model, agent.model, episode, 20, jax.random.key(0))
    assert dreamt.shape == (21, 3) and np.isfinite(dreamt).all()
    np.testing.assert_allclose(dreamt[0, :2], episode.obs[0, :2], atol=0.25)
    frames = pictures("pendulum-swingup", dreamt, 3)
    assert len(frames) == 3 and not np.array_equal(frames[0], frames[2])


def test_dreams_of_pixels_are_shown_as_they_are():
    obs = np.zeros((4, PIXELS + 1), np.float32)
    obs[2, :PIXELS] = 255.0
    frames = pictures("pixels:pendulum-swingup", obs, 4)
    assert [int(f.mean()) for f in frames] == [0, 0, 255, 0] and frames[0].shape == (110, 110, 3)


@pytest.mark.parametrize("task", POSES)
def test_poses_are_the_simulators(task):
    """Joint positions, up to whole turns, of bodies that moved."""
    env = pair_of(task).make("source")
    obs, _ = env.reset(seed=3)
    for _ in range(10):
        obs, *_ = env.step(env.action_space.sample())
    data = env.get_wrapper_attr("data")
    wrapped = (POSES[task](np.asarray(obs)) - data.qpos + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(wrapped, 0, atol=1e-5)
    env.close()


def test_the_demo_writes_its_pictures(tmp_path):
    told = []
    demo = ResidualDemo(transitions=1200, updates=4, measure_every=2, episodes=1, config=SMALL)
    found = residual_demo(AGENT, tmp_path / "out", demo, report=lambda *x: told.append(x))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["dreams.png", "numbers.json", "residual.png"]
    assert set(found.files) == set((tmp_path / "out").iterdir())
    assert list(found.returns) == ["zero-shot", "residual", "oracle"] and told[0][1] == 0 and told[-1][1] == 4
    stored = json.loads((tmp_path / "out" / "numbers.json").read_text())
    assert stored["returns"] == found.returns and [r["updates"] for r in stored["curve"]] == [0, 2, 4]
    taken = tmp_path / "file"
    taken.write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        residual_demo(AGENT, taken, demo)
    with pytest.raises(ValueError, match="is not a DRAW agent"):
        residual_demo("walker-walk-2", tmp_path / "new", demo)
    assert not (tmp_path / "new").exists() and taken.read_text() == "mine"
