"""The doctor on this machine as it is, and with lacks that are made for it: a stub driver, a range, a hanging probe."""

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from worldshift import doctor


@pytest.fixture(scope="module")
def checks() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.diagnose()}


def test_what_is_required_works_here(checks):
    lacks = {check.name: check.found for check in checks.values() if check.required and not check.ok}
    lacks.pop("packages", None)
    assert lacks == {}
    assert "walker-walk loads and steps" in checks["MuJoCo and dm_control"].found


def test_the_installed_packages_are_in_range(checks):
    if "not installed" in checks["packages"].found:
        pytest.skip("worldshift is not installed here; make test installs it")
    assert checks["packages"].ok
    assert f"jax {importlib.metadata.version('jax')}" in checks["packages"].found


def test_every_lack_comes_with_advice_and_says_whether_it_matters(checks):
    for check in checks.values():
        assert check.found and (check.ok or check.advice)
    assert not any(checks[name].required for name in checks if name.startswith("rendering"))


def test_json_is_one_object_and_nothing_else(capsys, monkeypatch):
    found = [doctor.Check("a", True, "fine"), doctor.Check("b", False, "gone", "get it", required=False)]
    monkeypatch.setattr(doctor, "diagnose", lambda: found)
    assert doctor.main(json=True) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["checks"][1] == dict(name="b", ok=False, found="gone", advice="get it", required=False)
    assert out.count("\n") == 1


def test_table_shows_brackets_and_fails_on_a_required_lack(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Check("a", False, "gone", "pip install 'jax[cuda13]'")])
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "pip install 'jax[cuda13]'" in out and "✗" in out


def test_a_probe_that_fails_crashes_or_hangs_is_only_reported(monkeypatch):
    assert doctor._try("print('noise'); print('fine')") == (True, "fine")
    assert doctor._try("raise OSError('no such library')") == (False, "OSError: no such library")
    assert doctor._try("import os; os.kill(os.getpid(), 11)") == (False, "ended with status -11")
    monkeypatch.setattr(doctor, "_TIMEOUT_S", 0.5)
    assert doctor._try("import time; time.sleep(60)") == (False, "no answer within 0.5 s")


def test_a_package_out_of_range_is_named_with_the_range(monkeypatch):
    needs = ["numpy<1", "rich>=1", "no_such_thing>=2", "jax[cuda13]>=99; extra == 'gpu'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    check = doctor._packages()
    assert not check.ok and check.required
    assert check.found == f"numpy {importlib.metadata.version('numpy')}, no_such_thing missing"
    assert check.advice == "pip install 'numpy<1' 'no_such_thing>=2'"


def test_an_idle_gpu_is_noticed(monkeypatch, tmp_path):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho NVIDIA Test 9000\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    check = doctor._device(True, "1 x cpu (cpu)", doctor._nvidia())
    assert not check.ok and not check.required
    assert check.advice == "NVIDIA Test 9000 lies idle; for an NVIDIA GPU: pip install 'jax[cuda13]'"
    assert doctor._device(True, "1 x NVIDIA Test 9000 (gpu)", doctor._nvidia()) == doctor.Check(
        "JAX", True, "1 x NVIDIA Test 9000 (gpu)", "", required=False
    )
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert doctor._nvidia() == ""


def test_one_working_back_end_is_enough():
    checks = doctor._rendering({"egl": (False, "no"), "osmesa": (True, "draws"), "glfw": (False, "no")})
    assert [check.ok for check in checks] == [False, True, False]
    assert checks[0].advice == "not needed, osmesa works"
    none = doctor._rendering({"osmesa": (False, "no")})
    assert none[0].advice == "apt-get install libosmesa6 (demo and tests need no GL)"


def test_writable_places_and_nothing_left_behind(tmp_path):
    assert doctor._writable("x", tmp_path / "not" / "yet").ok
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.write_text("")
    assert not doctor._writable("x", file).ok


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place that even root cannot write to")
def test_an_unwritable_place_is_reported():
    check = doctor._writable("working directory", Path("/proc/self"))
    assert not check.ok and check.required and "/proc/self" in check.found


def test_the_probes_run_in_this_interpreter():
    assert doctor._try("import sys; print(sys.executable)") == (True, sys.executable)
