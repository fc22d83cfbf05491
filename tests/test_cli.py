"""The command line as a user meets it: every verb, wrong use, one JSON object, and the README's own lines."""

import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from worldshift import cli, zoo
from worldshift.cli import readme
from worldshift.cli.training import Pace
from worldshift.data.episodes import save_episodes
from worldshift.run.offline.record import RecordConfig, record
from worldshift.run.online import demo
from worldshift.run.online.protocol import Protocol
from worldshift.studies.declared import STUDIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def worldshift(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    return subprocess.run([sys.executable, "-m", "worldshift.cli", *arguments], capture_output=True, text=True)


def one_object(text: str) -> dict:
    """The JSON object that `text` must be, and nothing but it."""
    found = json.loads(text)
    assert isinstance(found, dict) and text.count("\n") == 1
    return found


# Help


def test_help_names_every_command_without_loading_anything(capsys):
    assert cli.main([]) == cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {verb} +\w", out, re.MULTILINE) for verb in cli.VERBS)
    code = "import sys; from worldshift.cli import main; main(['--help']); print('jax' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("verb", [*sorted(cli.VERBS.keys() - {"adapt"}), "adapt reflex", "adapt residual"])
def test_help_is_the_manual(verb, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([*verb.split(), "--help"])
    out = capsys.readouterr().out
    assert left.value.code == 0 and "--json" in out and f"worldshift {verb}" in out


def test_the_readme_names_every_command():
    table = README[README.index("## Commands") : README.index("## Results")]
    assert {match.split()[0] for match in re.findall(r"`worldshift ([^`]+)`", table)} >= cli.VERBS.keys()


# Wrong use


def complaint(capsys, *arguments: str) -> str:
    """What a wrong command answers: status 2, one sentence on standard error, nothing on standard output."""
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "Traceback" not in said.err
    assert said.err.startswith("worldshift: ") and said.err.endswith(".\n")
    return said.err


def test_unknown_command(capsys):
    assert "choose among demo, doctor, train" in complaint(capsys, "fly")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eval nobody", "there is no agent 'nobody'"),
        ("eval AGENT --episodes 0", "at least one episode"),
        ("eval AGENT --shift gains", "a shift is a preset (gain) or a line of JSON"),
        ("""eval AGENT --shift '{"kind": "Wings"}'""", "unknown kind 'Wings'"),
        ("""eval AGENT --shift '{"kind": "ActuatorGain", "p": -7}'""", "ActuatorGain.p must be a number from -1 to 3"),
        ("eval AGENT --card --shift gain", "healthy agent"),
        ("adapt reflex AGENT --on 0", "at least 1"),
        ("""adapt reflex AGENT --shift '{"kind": "ActuatorGain", "p": [0.1]}'""", "there are 6 actuators"),
        ("calibrate AGENT --bodies 2", "at least 6 bodies"),
        ("calibrate nobody", "there is no agent"),
        ("demo --agent AGENT --seed -1", "a seed is a whole number"),
        ("demo --agent AGENT --out FILE", "is a file"),
        ("study nope", "choose among base-agents"),
        ("study step-gains --methods magic --out DIR", "no method 'magic'"),
        ("study reflex --methods fast --out DIR", "reflex is many studies"),
        ("results step-gains --folder DIR", "run `worldshift study step-gains` first"),
        ("report --folder DIR --out DIR/a.html", "there are no rows in"),
        ("report nope --folder DIR", "choose among base-agents"),
        ("results --folder DIR", "there are no rows in"),
        ("train --task walker-fly --out DIR/run", "unknown task"),
        ("train --agent-steps 0 --out DIR/run", "agent_steps must be at least 1"),
        ("train --task walker-walk --num-envs 3 --seed 3 --out AGENT", "pass --fresh to start over"),
    ],
)
def test_wrong_use_ends_with_a_sentence(tiny_run, tiny_zoo, tmp_path, capsys, line, words):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dir").mkdir()
    places = {"AGENT": tiny_run.path, "FILE": tmp_path / "file", "DIR": tmp_path / "dir"}
    for name, place in places.items():
        line = line.replace(name, str(place))
    assert words in complaint(capsys, *shlex.split(line))
    assert not list((tmp_path / "dir").iterdir()) and (tmp_path / "file").read_text() == "mine"


def test_options_that_do_not_exist_end_with_status_2(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["eval", "walker-walk", "--speed", "3"])
    said = capsys.readouterr()
    assert left.value.code == 2 and said.out == "" and "--speed" in said.err


def test_a_defect_keeps_its_traceback(tiny_run, monkeypatch):
    monkeypatch.setattr("worldshift.cli.eval_verb.evaluate_agent", lambda *_, **__: np.zeros(3).reshape(2, 2))
    with pytest.raises(ValueError, match="cannot reshape"):
        cli.main(["eval", str(tiny_run.path)])


# What each verb does


def test_train_and_calibrate_answer_with_one_object(tiny_run):
    assert tiny_run.train.returncode == 0 and tiny_run.calibrate.returncode == 0, tiny_run.calibrate.stderr
    trained, calibrated = one_object(tiny_run.train.stdout), one_object(tiny_run.calibrate.stdout)
    assert trained["agent"] == str(tiny_run.path / "agent") and trained["agent_steps"] == 40
    assert trained["eval_min"] <= trained["eval_return"] and 0 <= trained["eval_saturation"] <= 1
    assert calibrated["calibration"] == str(tiny_run.path / "calibration") and calibrated["healthy_gain_rms"] >= 0
    assert zoo.load(tiny_run.path).calibration is not None


def test_eval_with_and_without_a_shift(tiny_run):
    plain = worldshift("eval", str(tiny_run.path), "--episodes", "2", "--json")
    assert plain.returncode == 0, plain.stderr
    found = one_object(plain.stdout)
    assert found["episodes"] == 2 and abs(found["min"] - min(found["returns"])) < 0.01 and found["shift"] is None
    again = worldshift("eval", str(tiny_run.path), "--episodes", "2", "--json")
    assert one_object(again.stdout) == found
    shifted = worldshift(
        "eval", str(tiny_run.path), "--episodes", "2", "--json", "--shift", '{"kind":"Gravity","scale":2}'
    )
    assert one_object(shifted.stdout)["returns"] != found["returns"]


def test_eval_prints_a_table_and_writes_a_card(tiny_run, tmp_path, capsys):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    assert cli.main(["eval", str(tmp_path / "run"), "--episodes", "2", "--card"]) == 0
    assert "mean return" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "card.json").read_text())["evaluation"]["episodes"] == 2


def test_eval_with_the_planner_is_another_agent(tiny_run, capsys):
    short = ["eval", str(tiny_run.path), "--episodes", "1", "--json"]
    assert cli.main(short) == cli.main([*short, "--planner", "off"]) == cli.main([*short, "--planner", "on"]) == 0
    trained, off, on = (json.loads(line)["returns"] for line in capsys.readouterr().out.splitlines())
    assert trained == off != on


def test_adapt_in_two_modes(tiny_run, capsys):
    short = ["--nominal", "40", "--on", "50", "--bodies", "2"]
    run = worldshift("adapt", "reflex", str(tiny_run.path), *short, "--json")
    assert run.returncode == 0, run.stderr
    found = one_object(run.stdout)
    assert list(found["methods"]) == ["nominal", "frozen", "layered", "oracle"]
    assert found["protocol"]["block"] == 10 and found["shift"]["kind"] == "ActuatorGain"
    assert found["methods"]["oracle"]["actuation_end"]["value"] < 0.02
    line = '{"kind": "Friction", "scale": 0.5}'
    assert cli.main(["adapt", "reflex", str(tiny_run.path), *short, "--mode", "paper", "--shift", line]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("nominal", "frozen", "paper", "oracle", "Recovered"))


def test_demo(tiny_run, tmp_path, monkeypatch, capsys):
    protocol = Protocol(nominal=40, on=60, off=20, episode_steps=20, offset=10)
    small = demo.ReflexDemo(seed=5, bodies=2, protocol=protocol, film_s=(-0.5, 1.0))
    monkeypatch.setattr(demo.ReflexDemo, "of", classmethod(lambda cls, shipped, seed: small))
    out = tmp_path / "pictures"
    assert cli.main(["demo", "--agent", str(tiny_run.path), "--seed", "5", "--out", str(out), "--json"]) == 0
    found = one_object(capsys.readouterr().out)
    assert all(Path(file).is_file() for file in found["files"])
    assert cli.main(["demo", "reflex", "--agent", str(tiny_run.path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert all(method in said for method in demo.METHODS) and str(out / "film.gif") in said


def test_doctor_passes_its_status_on(monkeypatch, capsys):
    from worldshift import doctor

    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Check("moon", False, "none", "buy one")])
    assert cli.main(["doctor", "--json"]) == 1
    assert one_object(capsys.readouterr().out)["ok"] is False


def test_study_then_results_then_readme(tiny_zoo, tmp_path, capsys):
    rows, methods = tmp_path / "rows", ["nominal", "frozen", "fast", "oracle"]
    assert cli.main(["study", "step-gains", "--quick", "--methods", *methods, "--out", str(rows), "--json"]) == 0
    found = one_object(capsys.readouterr().out)
    assert list(found["bodies"]["walker-walk"]) == methods
    assert found["file"] == str(rows / "step-gains-quick.jsonl")

    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    name, figures = "step-gains-quick", tmp_path / "figures"
    tables = tmp_path / "docs" / "results.md"
    pages = ["--figures", str(figures), "--readme", str(page), "--tables", str(tables)]
    told = cli.main(["results", name, "--folder", str(rows), *pages, "--json"])
    again = one_object(capsys.readouterr().out)
    assert told == 0 and again["bodies"] == found["bodies"]
    assert again["files"] == [str(figures / f"{name}.png"), str(page), str(tables)]
    assert f"](../figures/{name}.png)" in tables.read_text() and (figures / f"{name}.png").is_file()
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert f"| [{name}](docs/results.md#{name}): " in text, "the overview"
    assert "| fast |" in text and "Fast reflex, 4 trials of 2 draws" in text

    html = tmp_path / "out" / "report.html"
    assert cli.main(["report", "--folder", str(rows), "--out", str(html), "--json"]) == 0
    told = one_object(capsys.readouterr().out)
    assert told == {"file": str(html), "studies": [name], "bytes": html.stat().st_size}
    report = html.read_text()
    assert "IQM: reward while the fault acts / nominal" in report and "RWM, table 2" in report
    assert "data:image/png;base64," in report and f"results/{name}.jsonl" in report
    assert [p.name for p in html.parent.iterdir()] == ["report.html"]

    written = page.read_bytes()
    assert cli.main(["results", name, "--folder", str(rows), "--readme", str(page)]) == 0
    assert page.read_bytes() == written
    assert "oracle" in capsys.readouterr().out


def test_a_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="has no place for results"):
        readme.rewrite(page, [])
    assert page.read_text() == "nothing here"


def test_study_list(capsys):
    assert cli.main(["study", "list"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == list(STUDIES)


# Training that stops and goes on


def test_an_interrupted_training_goes_on(tmp_path):
    out = tmp_path / "run"
    line = ["train", "--task", "point-mass", "--episode-steps", "20", "--num-envs", "2", "--eval-episodes", "1"]
    line += ["--eval-every", "40", "--updates-per-step", "0", "--out", str(out)]
    command = [sys.executable, "-m", "worldshift.cli", *line, "--agent-steps", "1000000"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # or a background job's child is deaf
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        signal.signal(signal.SIGINT, before)
        log, saved_at = out / "log.jsonl", out / "state" / "manifest.json"
        deadline = time.monotonic() + 300
        while not saved_at.is_file():
            assert running.poll() is None and time.monotonic() < deadline, "it does not train"
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=300)
    assert running.returncode == 130 and stdout == "" and "Traceback" not in stderr
    said = re.search(r"worldshift: stopped; the same command goes on from ([\d,]+) agent steps\.", stderr)
    assert said
    saved = int(said[1].replace(",", ""))
    went_on = worldshift(*line, "--agent-steps", str(saved + 40), "--json")
    assert went_on.returncode == 0 and one_object(went_on.stdout)["agent_steps"] == saved + 40
    steps = [json.loads(row)["agent_steps"] for row in log.read_text().splitlines()]
    assert steps == list(range(40, saved + 41, 40))


def test_seeds_are_trained_side_by_side(tmp_path):
    line = ["train", "--task", "point-mass", "--episode-steps", "20", "--num-envs", "2", "--eval-episodes", "1"]
    line += ["--eval-every", "40", "--updates-per-step", "0", "--agent-steps", "80", "--seeds", "3", "4", "--json"]
    found = worldshift(*line, "--out", str(tmp_path / "run"))
    assert found.returncode == 0, found.stderr
    runs = one_object(found.stdout)["runs"]
    assert [run["agent"] for run in runs] == [str(tmp_path / f"run-{seed}" / "agent") for seed in (3, 4)]
    assert [run["agent_steps"] for run in runs] == [80, 80] and runs[0]["eval_return"] != runs[1]["eval_return"]
    again = worldshift(*line, "--seeds", "3", "3", "--out", str(tmp_path / "run"))
    assert again.returncode == 2 and "seeds: each of them once" in again.stderr


def test_a_finished_agent_is_not_overwritten(tiny_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.path, run)
    shutil.rmtree(run / "state")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    said = complaint(capsys, "train", "--task", "walker-walk", "--out", str(run))
    assert "finished agent" in said and "--fresh" in said
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_remaining_time_is_learned_from_updates():
    pace = Pace(total_updates=1000, total_steps=2000)
    pace.tell(200, 0, 1.0)  # warm-up: fast, and no measure of what follows
    pace.tell(400, 0, 2.0)
    assert pace.remaining() is None
    pace.tell(600, 300, 100.0)  # catches up and compiles
    assert pace.remaining() is None
    pace.tell(800, 400, 120.0)  # 5 updates a second: 600 to go
    assert pace.remaining() == pytest.approx(120.0)
    pace.tell(2000, 1000, 240.0)
    assert pace.remaining() == 0.0


def test_remaining_time_follows_a_machine_that_slows_down():
    pace = Pace(total_updates=10_000, total_steps=1, window=4)
    clock = 0.0
    for round_ in range(1, 20):
        clock += 10.0 if round_ <= 10 else 30.0
        pace.tell(round_, 100 * round_, clock)
    assert pace.remaining() == pytest.approx((10_000 - 1900) * 0.3)


def test_without_updates_steps_are_counted():
    pace = Pace(total_updates=0, total_steps=100)
    pace.tell(20, 0, 1.0)
    pace.tell(40, 0, 3.0)
    assert pace.remaining() == pytest.approx(6.0)


# The README's own lines

PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_readme_has_its_two_commands_first():
    first = README[: README.index("## ")]
    assert first.index("make demo") < first.index("make test")
    assert readme.BEGIN in README and readme.END in README
    targets = (ROOT / "Makefile").read_text()
    assert re.search("^demo:", targets, re.MULTILINE) and re.search("^test:", targets, re.MULTILINE)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_in_the_readme_runs(number, tiny_zoo, tmp_path, monkeypatch, capsys):
    script, code = tmp_path / "readme.py", PYTHON[number]
    monkeypatch.chdir(tmp_path)
    if "adapt_offline" in code:  # with an agent and episodes, and shorter
        name = "draw-pendulum-swingup-1"
        shutil.copytree(ROOT / "src" / "worldshift" / "zoo" / name, tiny_zoo / name)
        short = RecordConfig("pendulum-swingup", transitions=1000, behaviour="random")
        save_episodes(tmp_path / "runs" / "target", record(short, None), {})
        code = code.replace("updates=3000", "updates=4").replace("OfflineConfig()", "OfflineConfig(lead=1)")
    script.write_text(code)
    runpy.run_path(str(script))
    said = capsys.readouterr().out
    assert len(said.splitlines()) == (3 if "compare" in PYTHON[number] else 1)
    assert number != 0 or [line.split()[0] for line in said.splitlines()] == ["nominal", "frozen", "fast"]


def test_own_environment_in_the_readme_runs(tmp_path, monkeypatch):
    """The commands for an environment of one's own, with options that make them short."""
    (block,) = re.findall(r"```sh\n(worldshift train.*?)```", README, re.DOTALL)
    shorter = {
        "train": "--agent-steps 80 --episode-steps 40 --num-envs 2 --eval-episodes 1",
        "calibrate": "--bodies 6 --steps 120 --updates 20 --width 16 --tolerance 1000",
        "adapt": "--nominal 40 --on 60 --bodies 2",
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str((ROOT / p) if p else p) for p in ("src",)))
    for line in block.strip().splitlines():
        words = shlex.split(line)[1:]
        if words[0] == "train":  # an option given twice counts once
            at = words.index("--agent-steps")
            del words[at : at + 2]
        run = worldshift(*words, *shorter[words[0]].split(), "--json")
        assert run.returncode == 0, run.stderr
        one_object(run.stdout)


def test_the_public_surface_is_what_it_says():
    import worldshift as ws

    assert sorted(ws._WHERE) == ws.__all__ == sorted(ws.__all__)
    for name in ws.__all__:
        assert getattr(ws, name) is not None
    assert dir(ws) == ws.__all__
    with pytest.raises(AttributeError, match="worldshift has no 'nothing'"):
        ws.nothing  # noqa: B018
