from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from d2n.cli import main


def d2n(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "d2n", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


HEAVY = ("torch", "torchvision", "mlflow", "optuna", "pandas", "scipy", "plotly", "sqlalchemy", "pydantic")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["search", "status", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom d2n.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "x.yaml"], "unknown verb 'trian'; did you mean 'train'?"),
        (["train", "absent.yaml"], "absent.yaml: no such file"),
        (["train", "--frob"], "No such option"),
        (["train"], "Missing argument"),
        (["retrieve", "absent.yaml"], "absent.yaml: no such file"),
        (["data", "prepair"], "did you mean 'prepare'?"),
        (["score"], "expected either a RUN_ID, or --real DIR with --fake DIR"),
        (["score", "--real", "."], "expected either a RUN_ID, or --real DIR with --fake DIR"),
        (
            ["score", "--real", ".", "--fake", ".", "--scores", "fdi"],
            "unknown score 'fdi'; did you mean 'fid'?",
        ),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_wrong_kind_of_experiment_names_the_right_verb(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("kind: retrieval\nname: r\n")
    code, _, err = run(capsys, "train", str(path))
    assert code == 2
    assert "run it with `d2n retrieve`" in err
    path.write_text("kind: translation\nname: t\n")
    code, _, err = run(capsys, "retrieve", str(path))
    assert code == 2
    assert "run it with `d2n train`" in err


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    from d2n import __version__

    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert __version__ in out


def test_the_module_runs_as_the_script_does() -> None:
    done = d2n("data", "frobnicate")
    assert done.returncode == 2
    assert "unknown verb 'frobnicate'" in done.stderr
