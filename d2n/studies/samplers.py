"""Optuna's samplers and pruners from a study's config, seeded so that the same study gives the same trials.

A sampler's random state is not saved with a study. Here trial n draws from a generator seeded with (study seed, n),
so that a continued study proposes what the uninterrupted one would have.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from d2n.studies.definition import PrunerConfig, StudyConfig
from d2n.studies.space import grid

logger = logging.getLogger(__name__)
ONE_SEQUENCE = ("qmc", "grid")  # each trial takes the next point of it


def build_sampler(study: StudyConfig) -> BaseSampler:
    """The study's sampler, reseeded before every trial. QMC and grid are one sequence over all trials: one seed."""
    seed = study.sampler.seed
    if study.sampler.name in ONE_SEQUENCE:
        return _sampler(study, seed)
    return _SeededSampler(lambda number: _sampler(study, trial_seed(seed, number)))


def build_pruner(pruner: PrunerConfig) -> optuna.pruners.BasePruner:
    """The study's pruner."""
    p = pruner
    maximum: Any = p.max_resource or "auto"
    builders: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(p.n_startup_trials, p.n_warmup_steps, p.interval_steps),
        "percentile": lambda: optuna.pruners.PercentilePruner(
            p.percentile, p.n_startup_trials, p.n_warmup_steps, p.interval_steps
        ),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(p.min_resource, maximum, p.reduction_factor),
        "successive_halving": lambda: optuna.pruners.SuccessiveHalvingPruner(
            p.min_resource, p.reduction_factor
        ),
        "wilcoxon": lambda: optuna.pruners.WilcoxonPruner(p_threshold=p.p_threshold),
    }
    with warnings.catch_warnings():  # wilcoxon may still change; pyproject bounds the version
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return builders[p.name]()


def trial_seed(study_seed: int, number: int, attempt: int = 1) -> int:
    """A 31-bit seed of (study seed, trial number, attempt)."""
    text = f"{study_seed}/{number}/{attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _sampler(study: StudyConfig, seed: int) -> BaseSampler:
    with warnings.catch_warnings():  # gp, qmc and nsga3 may still change; pyproject bounds the version
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _built(study, seed)


def _built(study: StudyConfig, seed: int) -> BaseSampler:
    knobs, samplers = study.sampler, optuna.samplers
    startup = knobs.n_startup_trials
    if knobs.name == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=10 if startup is None else startup)
    if knobs.name == "gp":
        return samplers.GPSampler(
            seed=seed, n_startup_trials=10 if startup is None else startup, warn_independent_sampling=False
        )
    if knobs.name == "cmaes":
        return samplers.CmaEsSampler(
            seed=seed, n_startup_trials=1 if startup is None else startup, warn_independent_sampling=False
        )
    if knobs.name == "qmc":
        return samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    if knobs.name == "grid":
        return _Grid(grid(study.space), seed=seed)
    if knobs.name == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=knobs.population_size)
    if knobs.name == "nsga3":
        return samplers.NSGAIIISampler(seed=seed, population_size=knobs.population_size)
    return samplers.RandomSampler(seed=seed)


class _Grid(optuna.samplers.GridSampler):
    """A grid whose end is seen by the study's stop rule; the parent class would stop a loop that we do not run."""

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing: see the class."""


class _SeededSampler(BaseSampler):
    """Hands each trial to a fresh sampler, seeded for that trial.

    What one knows of the space that all ended trials share goes on to the next: it grows by what ended since.
    """

    def __init__(self, build: Callable[[int], BaseSampler]) -> None:
        self._build = build
        self._inner = build(0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        known = vars(self._inner) if type(study) is Study else {}  # hyperband shows a bracket's trials alone
        self._inner = self._build(trial.number)
        vars(self._inner).update(
            {key: one for key, one in known.items() if isinstance(one, IntersectionSearchSpace)}
        )
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._inner.after_trial(study, trial, state, values)
