"""Whether the domains that an experiment names are a direction that its method can learn."""

from __future__ import annotations

from collections import Counter

from d2n.config.kinds import Experiment
from d2n.config.knobs import DatasetConfig, TranslationExperiment
from d2n.config.methods import METHODS
from d2n.errors import ConfigError
from d2n.files.reading import brief
from d2n.naming import checked_name


def check_direction(experiment: Experiment, source: str) -> None:
    """ConfigError in one line; ``source`` is the experiment's file, named in it."""
    data = experiment.dataset
    if not isinstance(experiment, TranslationExperiment):
        if data.direction != DatasetConfig().direction:
            raise ConfigError(
                f"{source}: dataset.source, dataset.target and dataset.domains are of a translation; "
                "a retrieval network learns from day images: leave them out"
            )
        return
    for knob, domain in (("source", data.source), ("target", data.target)):
        checked_name(domain, f"{source}: dataset.{knob}")
    for domain in data.domains:
        checked_name(domain, f"{source}: dataset.domains")
    _check_two(data, source)
    _check_listed(data, source)
    method = experiment.translator.method
    if len(data.direction) > 2 and not METHODS[method].many:
        several = " or ".join(name for name, row in METHODS.items() if row.many)
        raise ConfigError(
            f"{source}: dataset.domains names {len(data.direction)} domains, and {method} learns two; "
            f"expected dataset.source and dataset.target alone{f', or {several}' if several else ''}"
        )


def _check_two(data: DatasetConfig, source: str) -> None:
    if data.source == data.target:
        raise ConfigError(
            f"{source}: dataset.source and dataset.target are both {brief(data.source)}, expected two domains"
        )


def _check_listed(data: DatasetConfig, source: str) -> None:
    """What dataset.domains lists, where it lists anything: source and target among others, each once."""
    if data.domains and len(data.domains) < 2:
        raise ConfigError(f"{source}: dataset.domains is {brief(list(data.domains))}, expected two or more")
    for knob, domain in (("source", data.source), ("target", data.target)):
        if data.domains and domain not in data.domains:
            raise ConfigError(
                f"{source}: dataset.{knob} is {brief(domain)}, which dataset.domains "
                f"({', '.join(data.domains)}) does not name"
            )
    twice = [name for name, count in Counter(data.domains).items() if count > 1]
    if twice:
        raise ConfigError(f"{source}: dataset.domains names {brief(twice[0])} twice, expected each once")
    spelt: dict[str, str] = {}
    for domain in data.direction:
        first = spelt.setdefault(domain.lower(), domain)
        if first != domain:
            raise ConfigError(
                f"{source}: the domains {brief(first)} and {brief(domain)} differ in case alone; write one of them"
            )
