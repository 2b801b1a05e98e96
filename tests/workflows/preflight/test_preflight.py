"""What is refused before anything heavy is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from d2n import config
from d2n.errors import ConfigError, D2NError, DataError, TrackingError, WeightsError
from d2n.workflows import preflight

HEAVY = (
    "torch",
    "torchvision",
    "mlflow",
    "optuna",
    "pandas",
    "plotly",
    "sqlalchemy",
    "matplotlib",
    "scipy.ndimage",
)
RUN = (
    "import sys, json\nfrom d2n.cli import main\n"
    "for arguments in json.loads(sys.argv[1]):\n"
    "    try:\n        main(arguments)\n"
    "    except SystemExit as end:\n"
    "        print(json.dumps([end.code, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]))"
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "D2N_STUDY_STORAGE", "D2N_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_refusal_loads_no_library_that_takes_seconds(empty_folder: Path) -> None:
    (empty_folder / "broken.yaml").write_text("name: [\n")
    (empty_folder / "day").mkdir()
    wrong = {
        "train absent.yaml": "absent.yaml: no such file",
        "train cyclegan_toycty": "did you mean 'cyclegan_toycity'",
        "train broken.yaml": "line 2",
        "train retrieval_toycity": "run it with `d2n retrieve`",
        "train cyclegan_toycity": "run first `d2n data make toycity`, then `d2n retrieve retrieval_toycity_baseline`",
        "train folders --set dataset.root=absent": "absent: no index of folders",
        "train cyclegan_toycity --set evaluation.scores=[fdi]": "did you mean 'fid'",
        "train folders --set evaluation.weights=absent.pth": "absent.pth: no such weights file",
        "train cyclegan_amos --set dataset.name=nosuch": "no index of nosuch",
        "train folders --dry-run --set dataset.root=absent": "absent: no index of folders",
        "search pix2pix_toycty": "did you mean 'pix2pix_toycity'",
        "search pix2pix_toycity --set translator.lrr=1": "did you mean 'translator.lr'",
        "search broken.yaml": "line 2",
        "search cyclegan_aachen": "no index of aachen",
        "retrieve retrieval_amos --set network.weights=absent.pth": "absent.pth: no such weights file",
        "retrieve retrieval_toycity --set night.generator=null": "night.generator names none",
        "retrieve retrieval_toycity_baseline --dry-run --set dataset.root=absent": "absent: no index of toycity",
        "translate d2n-toycity@champion absent out": "absent: no such file or folder",
        "translate d2n-toycity@champion day out": "nothing was tracked in",
        "score --real day --fake absent": "absent: no such folder",
        "score": "expected either a RUN_ID",
        "promote toycity": "nothing was tracked in",
        "pull d2n-toycity@champion out": "nothing was tracked in",
        "report": "nothing was tracked in",
        "search status": "no studies yet: mlruns/optuna.db does not exist",
        "search stop pix2pix_toycity": "`d2n search STUDY` starts one",
        "search export pix2pix_toycity out": "no studies yet",
        "knobs trainin": "did you mean 'training'",
    }
    asked = json.dumps([call.split() for call in wrong])
    done = subprocess.run(
        [sys.executable, "-c", RUN, asked, json.dumps(HEAVY)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [json.dumps([2, []])] * len(wrong)
    said = done.stderr.splitlines()
    assert len(said) == len(wrong)
    assert [
        (call, line) for (call, text), line in zip(wrong.items(), said, strict=True) if text not in line
    ] == []


def test_what_is_started_is_said_before_torch_and_mlflow_load(empty_folder: Path) -> None:
    code = (
        "import sys, click\nfrom d2n import cli\n"
        "def tell(text, err=False, **_):\n"
        "    if err:\n"
        f"        print((text, [name for name in {HEAVY!r} if name in sys.modules]))\n"
        "        raise SystemExit\n"  # what comes after is not looked at
        "click.echo = tell\n"
        "cli.main(sys.argv[1:])"
    )
    (empty_folder / "day").mkdir()
    (empty_folder / "w.pth").write_bytes(b"no weights")
    (empty_folder / "mlruns").mkdir()
    (empty_folder / "mlruns/mlflow.db").touch()
    calls = [
        ["report"],
        ["import-weights", "w.pth", "out", "--method", "cyclegan"],
        ["score", "--real", "day", "--fake", "day"],
    ]
    for call in calls:
        done = subprocess.run(
            [sys.executable, "-c", code, *call], capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines()[-1].startswith(f"('d2n {call[0]}: "), done.stderr
        assert done.stdout.splitlines()[-1].endswith(" …', [])")


def test_a_dry_run_in_an_empty_folder_shows_the_knobs_and_what_to_make_first() -> None:
    call = [["train", "cyclegan_toycity", "--dry-run"], ["retrieve", "retrieval_toycity", "--dry-run"]]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(call), json.dumps(HEAVY)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert "translator.method = cyclegan" in lines
    to_do = [line for line in lines if line.startswith("not here yet: ")]
    assert "`d2n data make toycity`, then `d2n retrieve retrieval_toycity_baseline`" in to_do[0]
    assert (
        "`d2n data make toycity`, then `d2n train cyclegan_toycity`, then `d2n promote toycity`" in to_do[1]
    )
    assert lines.count(json.dumps([0, []])) == 2


def test_a_store_that_is_named_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackingError, match="nothing was tracked"):
        preflight.store()
    preflight.store("http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    preflight.store()


def test_the_errors_are_of_their_kind(empty_folder: Path) -> None:
    with pytest.raises(ConfigError):
        preflight.translation(config.build_experiment({"kind": "retrieval"}))
    with pytest.raises(WeightsError):
        preflight.scoring(("fid",), None, empty_folder, empty_folder, Path("absent.pth"))
    with pytest.raises(DataError):
        preflight.translating("model", Path("absent"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "rsfm", "real": Path("a"), "fake": Path("b")}, "expected a RUN_ID"),
        ({"run_id": "r", "root": Path("x")}, "add --on NAME"),
        ({"run_id": "r", "on": "nowhere"}, "nowhere"),
    ],
)
def test_another_data_set_is_refused_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(D2NError, match=message):
        preflight.scoring_elsewhere(options.get("run_id"), options.get("on"), options.get("root"))
