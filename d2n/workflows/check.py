"""``d2n check``: every YAML loads, every dimension fits its experiment at both ends, rows are whole. No torch."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from d2n import config, shipped
from d2n.config import RetrievalExperiment, methods
from d2n.datasets import SETS
from d2n.datasets import kinds as set_kinds
from d2n.errors import ConfigError, D2NError
from d2n.scores import SCORES
from d2n.scores import kinds as score_kinds
from d2n.studies.definition import StudyConfig
from d2n.studies.loading import load_study

_WORDS_OF_BOTH = {"extends", "name", "dataset"}
_STUDY_WORDS = {field.name for field in dataclasses.fields(StudyConfig)} - _WORDS_OF_BOTH | {"objective"}


def check(paths: Sequence[Path] = ()) -> list[str]:
    """One line a file. ConfigError names every file that is wrong, one after the other, when any is.

    An incomplete row of a score or a data set is refused before.

    Without ``paths``: experiments/ and optuna_studies/ here, where they are absent those that come with d2n.
    """
    _refuse_incomplete_rows()
    files = yaml_files(paths or [_folder(kind) for kind in shipped.KINDS])
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


def incomplete_rows() -> list[str]:
    """A line for each row of a score, a data set or a method that lacks what others ask it."""
    lacking = {f"score {key}": score_kinds.missing(key, kind) for key, kind in SCORES.items()}
    lacking |= {f"data set {key}": set_kinds.missing(key, kind) for key, kind in SETS.items()}
    lines = [f"{row} lacks {', '.join(lacks)}" for row, lacks in lacking.items() if lacks]
    return [*lines, *methods.faults()]


def _refuse_incomplete_rows() -> None:
    lines = incomplete_rows()
    if lines:
        raise ConfigError(
            f"{len(lines)} rows are incomplete: {' | '.join(lines)}; complete them in their files"
        )


def yaml_files(paths: Sequence[Path]) -> list[Path]:
    """The YAML files among the paths, directly below those that are folders, and of those that are names."""
    files: list[Path] = []
    for path in paths:
        files += shipped.yaml_files(path) if os.path.isdir(path) else _named(path)  # noqa: PTH112 - a Path refuses long names
    return files


def _folder(kind: shipped.Kind) -> Path:
    return Path(kind) if Path(kind).is_dir() else shipped.folder(kind)


def _named(path: Path) -> list[Path]:
    """An experiment and a study may bear the same name: both are meant."""
    found: dict[Path, None] = {}
    problems: list[ConfigError] = []
    for kind in shipped.KINDS:
        try:
            found[shipped.find(kind, path)] = None
        except ConfigError as error:
            problems.append(error)
    if not found:
        raise problems[0]
    return list(found)


def _shown(file: Path) -> str:
    """The path; of a file that comes with d2n, where `d2n init` would put it."""
    kind = next((kind for kind in shipped.KINDS if file.parent == shipped.folder(kind)), None)
    return f"{kind}/{file.name} (comes with d2n)" if kind else str(file)


def _is_study(file: Path) -> bool:
    """By its own words; one of the words that both may have alone by the folder that it lies in."""
    own = set(config.read_yaml(file))
    if own & _STUDY_WORDS:
        return True
    return own <= _WORDS_OF_BOTH and file.resolve().parent.name == "optuna_studies"


def _checked(file: Path) -> tuple[str, str | None]:
    """What the file holds in a line, and the study's name if it is one."""
    if _is_study(file):
        study = load_study(file)
        return (
            f"{_shown(file)}: study {study.config.name}, {len(study.config.space)} dimensions fit",
            study.config.name,
        )
    if config.PROMOTION in config.read_yaml(file):
        rule = config.load_promotion(file)
        return (
            f"{_shown(file)}: promotion, {rule.settings} settings of {rule.seeds} seeds, level {rule.level:g}",
            None,
        )
    experiment = config.load_experiment(file)
    what = "retrieval" if isinstance(experiment, RetrievalExperiment) else experiment.translator.method
    return f"{_shown(file)}: {what} on {experiment.dataset.name}", None
