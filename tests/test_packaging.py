"""A built wheel, from an empty folder: nothing of the checkout is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
FOLDERS = ("d2n", "experiments", "optuna_studies")
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64", "linux_x86_64")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools writes build/ and egg-info beside what it builds."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    pip(["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out), str(source)])
    return next(out.glob("d2n-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip(["install", "--no-deps", "--no-index", "--target", str(target), str(wheel)])
    return target


def pip(arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def d2n(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, which cannot see the checkout."""
    unset = {"MLFLOW_TRACKING_URI", "D2N_STUDY_STORAGE", "D2N_DATA"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    code = f"import d2n, d2n.cli; assert d2n.__file__.startswith({str(installed)!r}), d2n.__file__; d2n.cli.main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_the_yamls_of_the_checkout_and_py_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for kind in ("experiments", "optuna_studies"):
            packaged = {Path(name).name for name in names if name.startswith(f"d2n/{kind}/")}
            assert packaged == {path.name for path in (ROOT / kind).glob("*.yaml")}
        text = archive.read("d2n/experiments/cyclegan_toycity.yaml")
    assert text == (ROOT / "experiments/cyclegan_toycity.yaml").read_bytes()
    assert "d2n/py.typed" in names
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "d2n").rglob("*.html")}
    assert templates
    assert templates <= set(names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "d2n").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}


def test_from_an_empty_folder_check_train_and_search_find_what_is_packaged(
    installed: Path, tmp_path: Path
) -> None:
    checked = d2n(installed, tmp_path, "check")
    assert checked.returncode == 0, checked.stderr
    assert len(checked.stdout.splitlines()) == len(
        [*ROOT.glob("experiments/*"), *ROOT.glob("optuna_studies/*")]
    )
    dry = d2n(installed, tmp_path, "train", "cyclegan_toycity", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "name = cyclegan_toycity" in dry.stdout.splitlines()
    search = d2n(installed, tmp_path, "search", "pix2pix_toycity")
    assert "run first `d2n data make toycity`" in search.stderr
    knobs = d2n(installed, tmp_path, "knobs", "translator.lr")
    assert "learning rate" in knobs.stdout
    assert list(tmp_path.iterdir()) == []


def test_init_copies_them_out_and_the_copies_win(installed: Path, tmp_path: Path) -> None:
    assert d2n(installed, tmp_path, "init").returncode == 0
    own = tmp_path / "experiments/cyclegan_toycity.yaml"
    own.write_text(own.read_text().replace("name: cyclegan_toycity", "name: mine"))
    dry = d2n(installed, tmp_path, "train", "cyclegan_toycity", "--dry-run")
    assert "name = mine" in dry.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(1700)
def test_the_demo_walks_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = d2n(installed, tmp_path, "demo", "--quick", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "mAP night" in done.stdout
    assert (tmp_path / "demo-quick/report/report.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1700)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_lower_bounds_install_without_a_compiler(version: str, tmp_path: Path) -> None:
    """Every lower bound together, as wheels. torch and torchvision on their own: CUDA's packages need no compiler."""
    bounds = lower_bounds()
    heavy = [bound for bound in bounds if bound.startswith(("torch==", "torchvision=="))]
    rest = sorted(set(bounds) - set(heavy))
    wanted = ["--only-binary", ":all:", "--python-version", version, "--target", str(tmp_path)]
    wanted += [part for platform in PLATFORMS for part in ("--platform", platform)]
    resolve(["install", "--dry-run", *wanted, *rest])
    resolve(["install", "--dry-run", "--no-deps", *wanted, *heavy])


def lower_bounds() -> list[str]:
    """``name==bound`` of every dependency that a user installs, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [
        *project["dependencies"],
        *(one for name in ("postgres", "s3", "dashboard") for one in extras[name]),
    ]
    matches = [re.match(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in requirements]
    assert all(matches), requirements
    return [f"{match[1]}=={match[2]}" for match in matches if match]


def resolve(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False, timeout=800
    )
    if done.returncode and not package_index_answers():
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr[-2000:]


def package_index_answers() -> bool:
    try:
        with urllib.request.urlopen("https://pypi.org/simple/click/", timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False
