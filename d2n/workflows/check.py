"""``d2n check``: every YAML loads, every search dimension fits its experiment at both ends. No torch."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from d2n import config, studies
from d2n.config import RetrievalExperiment
from d2n.errors import ConfigError, D2NError

FOLDERS = (Path("experiments"), Path("optuna_studies"))


def check(paths: Sequence[Path] = ()) -> list[str]:
    """One line a file. ConfigError names every file that is wrong, one after the other, when any is."""
    files = yaml_files(paths or [folder for folder in FOLDERS if folder.is_dir()])
    if not files:
        raise ConfigError("no YAML to check here: expected experiments/ and optuna_studies/, or name files")
    lines, problems, sources = [], [], defaultdict[str, list[Path]](list)
    for file in files:
        try:
            line, study = _checked(file)
        except D2NError as error:
            problems.append(str(error))
            continue
        lines.append(line)
        if study is not None:
            sources[study].append(file)
    for name, having in sources.items():
        if len(having) > 1:
            problems.append(
                f"{', '.join(map(str, having))}: all name their study {name}, expected one file a study"
            )
    if problems:
        raise ConfigError(f"{len(problems)} of {len(files)} files are wrong: {' | '.join(problems)}")
    return lines


def yaml_files(paths: Sequence[Path]) -> list[Path]:
    """The YAML files among the paths and directly below those that are folders."""
    files: list[Path] = []
    for path in paths:
        files += sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if os.path.isdir(path) else [path]  # noqa: PTH112 - a Path refuses long names
    return files


def _checked(file: Path) -> tuple[str, str | None]:
    """What the file holds in a line, and the study's name if it is one."""
    if "space" in config.read_yaml(file):
        study = studies.load_study(file)
        return (
            f"{file}: study {study.config.name}, {len(study.config.space)} dimensions fit",
            study.config.name,
        )
    experiment = config.load_experiment(file)
    what = "retrieval" if isinstance(experiment, RetrievalExperiment) else experiment.translator.method
    return f"{file}: {what} on {experiment.dataset.name}", None
