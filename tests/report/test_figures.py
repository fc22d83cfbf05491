"""Figures hold what they were given, in colours that can be told apart, and are the same bytes for the same rows."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from worldshift.report.figures import (
    LOOKS,
    Curve,
    Panel,
    Training,
    by_severity,
    look_of,
    over_body_time,
    training_curves,
)

X = np.linspace(-5.0, 20.0, 26)


def panels(*methods: str, on: tuple[tuple[float, float], ...] = ()) -> dict[str, list[Panel]]:
    curves = {m: Curve(X, np.full(26, 0.1 * (i + 1)), np.zeros(26), np.ones(26)) for i, m in enumerate(methods)}
    return {"walker": [Panel("reward", curves, limits=(0, 1), on=on), Panel("error", curves, level=1.0, on=on)]}


def has(picture: Image.Image, colour: str, tolerance: int = 12) -> bool:
    """Whether the picture has a good number of pixels of that colour."""
    off = np.abs(np.asarray(picture.convert("RGB"), int) - ImageColor.getrgb(colour)[:3]).max(-1)
    return int((off <= tolerance).sum()) > 60


def test_each_method_is_drawn_in_its_colour_and_no_other(tmp_path):
    path = tmp_path / "new" / "curves.png"
    over_body_time(path, panels("frozen", "fast", on=((0.0, 15.0),)), title="a fault")
    picture = Image.open(path)
    assert has(picture, LOOKS["frozen"].colour) and has(picture, LOOKS["fast"].colour)
    assert not has(picture, LOOKS["paper"].colour) and not has(picture, LOOKS["oracle"].colour)


def test_the_fault_is_shaded_where_it_acts(tmp_path):
    over_body_time(tmp_path / "a.png", panels("frozen", on=((0.0, 10.0),)), title="")
    over_body_time(tmp_path / "b.png", panels("frozen"), title="")
    marked, plain = (np.asarray(Image.open(tmp_path / n).convert("RGB"), int) for n in ("a.png", "b.png"))
    assert marked.shape == plain.shape
    # The axis runs from -5 to 20, so the shaded tenth to fifteenth of 25 s lies from 20 % to 60 % of its width.
    shade = (np.abs(marked - [0xF3, 0xEB, 0xDD]).max(-1) <= 3).any(0)
    assert not (np.abs(plain - [0xF3, 0xEB, 0xDD]).max(-1) <= 3).any()
    columns = np.flatnonzero(shade)
    spine = np.flatnonzero((plain[-200:] < 60).all(-1).sum(0) > 40)[0]  # the left axis
    width = plain.shape[1] - spine
    assert (columns[0] - spine) / width == pytest.approx(0.2, abs=0.04)
    assert (columns[-1] - spine) / width == pytest.approx(0.6, abs=0.05)


def test_a_method_has_its_colour_also_where_others_are_missing(tmp_path):
    x = np.arange(5.0)
    both = Panel("above", {"one": Curve(x, x), "two": Curve(x, x + 1)})
    over_body_time(tmp_path / "f.png", {"": [both, Panel("below", {"two": Curve(x, x)})]}, title="")
    picture = np.asarray(Image.open(tmp_path / "f.png").convert("RGB"), int)
    first, second = (ImageColor.getrgb(look_of(name, ["one", "two"]).colour) for name in ("one", "two"))
    below = picture[2 * len(picture) // 3 :]
    assert (below == second).all(-1).any() and not (below == first).all(-1).any()


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        over_body_time(tmp_path / name, panels("frozen", "fast", on=((0.0, 10.0),)), title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_methods_differ_in_more_than_hue():
    styles = [(str(look.style), look.width) for look in LOOKS.values()]
    assert len({(look.colour, str(look.style)) for look in LOOKS.values()}) == len(LOOKS)
    # Seen without hue, whatever is drawn in a similar grey has another line style or width.
    grey = {m: float(np.dot(ImageColor.getrgb(look.colour)[:3], [0.299, 0.587, 0.114])) for m, look in LOOKS.items()}
    for i, a in enumerate(LOOKS):
        for j, b in enumerate(LOOKS):
            assert i == j or abs(grey[a] - grey[b]) > 20 or styles[i] != styles[j], (a, b)


def test_training_curves_stand_beside_published_scores(tmp_path):
    ours = {"walker-walk-1": [(10_000, 100.0), (200_000, 900.0)]}
    tasks = {"walker-walk": Training(ours, [(100_000, 961.9, 10.2)]), "cup-catch": Training({"cup-catch-1": []})}
    training_curves(tmp_path / "curves.png", tasks, theirs="official")
    picture = Image.open(tmp_path / "curves.png")
    assert has(picture, "#0072B2") and has(picture, "#444444")


def test_matplotlib_waits_until_something_is_drawn_and_opens_no_window():
    code = (
        "import sys, worldshift.report.figures as f; assert 'matplotlib' not in sys.modules; import tempfile, os;"
        "f.training_curves(os.path.join(tempfile.mkdtemp(), 'x.png'), {'a': f.Training({'b': [(1, 2.0)]})}, theirs='');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_what_nothing_is_known_of_takes_no_room(tmp_path):
    """Seven kinds in bands of six: the error of one is known, and its band alone has a second strip."""
    kinds, known = [str(i) for i in range(7)], Curve(np.arange(5.0), np.ones(5))
    reward = {kind: {"frozen": known} for kind in kinds}
    nothing = {kind: {"frozen": Curve(known.x, np.full(5, np.nan))} for kind in kinds}
    heights = {}
    for name, error in (("none", nothing), ("one", nothing | {"6": {"frozen": known}}), ("all", reward)):
        by_severity(tmp_path / f"{name}.png", {"reward": reward, "error": error}, title="changes")
        with Image.open(tmp_path / f"{name}.png") as picture:
            heights[name] = picture.height
    strip = heights["one"] - heights["none"]
    assert strip > 100 and heights["all"] == heights["one"] + strip
