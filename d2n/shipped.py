"""The experiments and studies that come with d2n: found by name where the current folder has none of its own.

In an installed package they lie inside it; in a checkout they are its top-level folders. Both are the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from d2n.errors import ConfigError

Kind = Literal["experiments", "optuna_studies"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SUFFIXES = (".yaml", ".yml")
_ONE = {"experiments": "experiment", "optuna_studies": "study"}


def folder(kind: Kind) -> Path:
    """Where the YAMLs of a kind lie that come with d2n."""
    package = Path(__file__).resolve().parent
    found = next((home / kind for home in (package, package.parent) if (home / kind).is_dir()), None)
    if found is None:
        raise ConfigError(f"{package / kind}: no such folder; d2n is installed in part, install it again")
    return found


def find(kind: Kind, asked: str | Path) -> Path:
    """The YAML that is meant by a path or a name, with or without ``.yaml``.

    A file at that path wins; then ``NAME.yaml`` here and in ``experiments/`` (``optuna_studies/``) here; then
    those that come with d2n. ConfigError names the nearest when there is none.
    """
    asked = Path(asked)
    if is_file(asked):
        return asked
    homes = [Path(), Path(kind), folder(kind)] if asked.parent == Path() else []
    if asked.parent == Path(kind):  # such as experiments/folders.yaml, in a folder without a copy of it
        homes = [Path(kind), folder(kind)]
    for home in homes:
        for name in _file_names(asked.name):
            if is_file(home / name):
                return home / name
    raise ConfigError(_not_found(kind, asked))


def names(kind: Kind) -> list[str]:
    """Every name that ``find`` knows here."""
    homes = [home for home in (Path(kind), folder(kind)) if home.is_dir()]
    return sorted({path.stem for home in homes for path in yaml_files(home)})


def yaml_files(home: Path) -> list[Path]:
    """The YAML files directly in a folder, by name."""
    return sorted(path for path in home.iterdir() if path.suffix in SUFFIXES)


def _file_names(name: str) -> list[str]:
    return [name] if name.endswith(SUFFIXES) else [f"{name}{suffix}" for suffix in SUFFIXES]


def is_file(path: Path) -> bool:
    """Whether something is there that can be read; a name that the file system refuses is not there."""
    try:
        return path.exists() and not path.is_dir()
    except OSError:
        return False


def _not_found(kind: Kind, asked: Path) -> str:
    stem = asked.stem if asked.suffix in SUFFIXES else asked.name
    import difflib  # no other verb waits for it

    close = difflib.get_close_matches(stem, names(kind), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{asked}: no such file, and no {_ONE[kind]} of that name{hint} (`d2n check` lists them)"
