from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from d2n.cli import cli, main
from d2n.signals import StopRequested


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
        (["search", "absent.yaml", "other.yaml", "--jobs", "2"], "absent.yaml: no such file"),
        (["search", "s.yaml", "--on", "slum"], "'slum' is not one of 'local', 'slurm', 'kubernetes'"),
        (["search", "s.yaml", "--on", "slurm", "--time", "4h"], "'4h' is no time, expected such as 4:00:00"),
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--out", "FILE"],
        ["demo", "--quick", "--out", "FILE"],
        ["data", "make", "toycity", "--root", "FILE"],
        ["data", "make", "toycity", "--root", "FILE/below"],
        ["data", "prepare", "folders", "DIR", "--out", "FILE"],
        ["data", "prepare", "folders", "DIR", "--pickles", "FILE/below"],
        ["import-weights", "weights.pth", "FILE", "--method", "cyclegan"],
        ["pull", "d2n-toycity@champion", "FILE"],
        ["pull", "d2n-toycity@champion", "FILE/below"],
        ["search", "export", "study", "FILE"],
        ["score", "--real", "DIR", "--fake", "DIR", "--scores", "prd", "--plot", "FILE/prd.html"],
    ],
)
def test_a_file_where_a_folder_goes_is_refused_by_its_name_before_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("mine")
    Path("DIR").mkdir()
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "FILE" in err
    assert "a file is where a folder is expected" in err
    assert err.count("\n") == 1
    assert Path("FILE").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DIR", "FILE"]


@pytest.mark.parametrize(
    ("device", "says"), [("foo", "'foo'"), ("cuda:99", "device is 'cuda:99', but torch sees")]
)
def test_a_device_that_is_none_is_refused_before_work(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["translate", "no-model", "no-folder", "out", "--device", device],
        ["train", "t.yaml", "--set", f"training.device={device}"],
        ["train", "t.yaml", "--dry-run", "--set", f"training.device={device}"],
        ["retrieve", "r.yaml", "--set", f"training.device={device}"],
        ["search", "s.yaml", "--set", f"training.device={device}"],
    ):
        Path("t.yaml").write_text("kind: translation\nname: t\n")
        Path("r.yaml").write_text("kind: retrieval\nname: r\n")
        Path("s.yaml").write_text(
            "name: s\nexperiment: t.yaml\nstop: {trials: 1}\nobjectives: [{score: fid}]\n"
            "space: {translator.lr: {type: float, low: 1.0e-4, high: 1.0e-3}}\n"
        )
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, ""), arguments
        assert says in err
        assert "auto" in err
        assert err.count("\n") == 1
    assert not Path("mlruns").exists()


def test_a_folder_in_the_way_of_the_working_files_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``mlruns`` is a file: nothing can be kept, whichever verb asks."""
    monkeypatch.chdir(tmp_path)
    Path("mlruns").write_text("")
    for arguments in (["search", "status"], ["report"], ["promote", "toycity"]):
        code, _, err = run(capsys, *arguments)
        assert code == 2, arguments
        assert "mlruns" in err
        assert err.count("\n") == 1, err


def test_an_interruption_tells_the_run_the_command_and_the_signal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise StopRequested("0123", "saved at step 5 of 9", 143)

    monkeypatch.setitem(cli.commands, "train", click.Command("train", callback=interrupted))
    code, out, err = run(capsys, "train")
    assert code == 143
    assert out == ""
    first, second = err.strip().splitlines()
    assert first == "interrupted; run 0123, saved at step 5 of 9, goes on with"
    assert second.endswith("train --resume 0123")


def every_command(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(("d2n", *path)), group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield " ".join(("d2n", *path, name)), command


@pytest.mark.parametrize(("path", "command"), [pytest.param(*each, id=each[0]) for each in every_command()])
def test_every_help_has_an_example_and_says_what_each_option_means(path: str, command: click.Command) -> None:
    assert command.help
    assert "Example" in (command.epilog or "")
    verb = path.removesuffix(" run")  # `d2n search STUDY`
    examples = [line.strip() for line in str(command.epilog).splitlines() if line.startswith("  ")]
    assert examples
    assert all(line == "d2n" or line.startswith(verb) for line in examples)
    unexplained = [
        param.name for param in command.params if isinstance(param, click.Option) and not param.help
    ]
    assert unexplained == []
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    for argument in arguments:
        name = argument.metavar or str(argument.name).upper()
        assert name.strip("[].") in str(command.help), argument.name


def test_bare_d2n_says_what_to_begin_with(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    commands = [line.strip().split("   ")[0] for line in out.splitlines() if line.startswith("  d2n ")]
    assert commands == ["d2n demo --quick", "d2n init", "d2n --help"]


@pytest.mark.parametrize("group", ["data", "search"])
def test_a_bare_group_shows_its_help(capsys: pytest.CaptureFixture[str], group: str) -> None:
    code, out, err = run(capsys, group)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: d2n {group}") or "Usage:" in out


def test_the_help_of_search_shows_the_options_of_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "search", "--help")
    assert code == 0
    for option in ("--trials", "--workers", "--new-space", "--set", "--tracking-uri", "--study-storage"):
        assert option in out
    for verb in ("status", "stop", "export"):
        assert verb in out


def test_options_of_a_search_may_stand_before_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "search", "--workers", "2", "pix2pix_toycty")
    assert code == 2
    assert "did you mean 'pix2pix_toycity'?" in err


def test_a_shell_completes_verbs_and_experiments(tmp_path: Path) -> None:
    def completed(words: str) -> list[str]:
        environment = {**os.environ, "_D2N_COMPLETE": "bash_complete", "COMP_WORDS": words}
        environment["COMP_CWORD"] = str(len(words.split()) - 1)
        code = "import sys; sys.argv = ['d2n']; from d2n.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            check=False,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("d2n retr") == ["retrieve"]
    assert "cyclegan_toycity" in completed("d2n train cyc")


def test_help_reads_no_knobs_and_no_library() -> None:
    """A verb loads what it needs, so that every other one and --help answer at once."""
    code = "import sys, d2n.cli; print([name for name in sys.modules if name.startswith(('d2n.config', 'd2n.work'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    code = "import sys, d2n.cli; print(sys.modules.keys() & {'numpy', 'torch', 'mlflow', 'yaml', 'pydantic', 'PIL'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_verb_has_its_help() -> None:
    asked = []

    def walk(command: click.Command, path: tuple[str, ...]) -> None:
        text = CliRunner().invoke(cli, [*path, "--help"]).output
        assert text.startswith("Usage: "), (path, text)
        asked.append(path)
        for name, verb in getattr(command, "commands", {}).items():
            walk(verb, (*path, name))

    walk(cli, ())
    assert ("import-weights",) in asked
    assert ("search", "status") in asked
