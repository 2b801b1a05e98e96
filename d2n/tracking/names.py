"""Every experiment, param, metric, tag, artifact, model and alias name that d2n writes. Pure; no MLflow.

What MLflow allows: letters, digits and ``_ - . space : /`` in params, metrics and tags; no ``..`` and no leading or
doubled ``/``; ``system/`` is its own. Registered models take no ``/`` and no ``:``; aliases no dot, not ``latest``
and not ``v<number>``.
"""

from __future__ import annotations

import posixpath
import re
from typing import Literal

from d2n import naming
from d2n.errors import RegistryError, TrackingError

# Experiments and registered models -----------------------------------------------------------------------

CHAMPION = "champion"  # alias of the promoted generator
PREVIOUS = "previous"  # alias of the champion before it
WAY_BACK = "way-back"  # alias of the generator that undoes a champion, under the name of its direction
BASELINE = "baseline"  # alias of the baseline retrieval network
GENERATOR = "generator"  # name of the logged model of a translation run
WAY_BACK_GENERATOR = "generator-way-back"  # name of the logged model of its way back
RETRIEVAL = "retrieval"  # name of the logged model of a retrieval run
EXTRACTOR = "retrieval:"  # before MODEL@ALIAS: an extractor from the registry

# Tags: who and where -------------------------------------------------------------------------------------

OWN = "d2n."  # before every tag of d2n
INTERNAL = f"{OWN}internal."  # before those that are its own bookkeeping
KIND = "d2n.kind"  # translation, retrieval, study, trial, promotion, report
METHOD = "d2n.method"
PRESET = "d2n.preset"
SEED = "d2n.seed"
DATASET = "d2n.dataset"
SOURCE, TARGET = "d2n.source", "d2n.target"  # of a registered generator: the domains that it translates
DATASET_DIGEST = "d2n.dataset.digest"
KNOBS = "d2n.internal.knobs"  # JSON: the knobs that are no params, as params are: text
PROTOCOL = "d2n.score_protocol"  # identity of the scores' protocol
PROTOCOL_TEXT = "d2n.score_protocol.text"  # core.ScoreProtocol as JSON
VERSION = "d2n.version"
CODE_COMMIT = "d2n.code.commit"  # of d2n's own checkout, if it runs from one
GIT_COMMIT = "mlflow.source.git.commit"  # of the project's checkout; the UI shows it
GIT_DIRTY = "d2n.git.dirty"
GIT_BRANCH = "mlflow.source.git.branch"
PYTHON, PLATFORM, PACKAGES, CPUS = "d2n.python", "d2n.platform", "d2n.packages", "d2n.cpus"
USER = "mlflow.user"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
PARENT_RUN = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
LOGGED_TABLES = "mlflow.loggedArtifacts"
LOGGED_IMAGES = "mlflow.loggedImages"
DATA_CONTEXT = "mlflow.data.context"  # of a data set that is an input
_SHARED_VIEW = "mlflow.sharedViewState."

# Tags: what a run found -------------------------------------------------------------------------------------------

EXPERIMENT_NAME = "d2n.experiment"  # the name in the YAML
ARM = "d2n.arm"  # of a retrieval run: none, generator, photometric, clahe
PRUNED = "d2n.pruned"
ALARMS = "d2n.alarms"  # raised in training, with the last step
MODEL_ID = "d2n.model_id"  # the LoggedModel of this run
WAY_BACK_FILES = "d2n.way_back"  # true: the run left the weights of its way back
WAY_BACK_MODEL_ID = "d2n.way_back.model_id"  # the LoggedModel made of them
BEST_SCORE = "d2n.best_score"  # JSON: name, value, step on the validation split
TEST_PROTOCOL = "d2n.test.score_protocol"  # identity
TEST_PROTOCOL_TEXT = "d2n.test.score_protocol.text"
TEST = "test/"  # before a score on the test split
TEST_SCORE = "d2n.test.score"  # JSON: name, value, std, interval, floor on the test split

SETTING = "d2n.promotion.setting"  # of a run that a promotion trained: the setting whose seed it is
_TEST_USE = "d2n.test_use."

# Tags: is the process behind a RUNNING run alive? -----------------------------------------------------------

PROCESS, ENVIRONMENT = f"{INTERNAL}process", f"{INTERNAL}environment"  # JSON: what bookkeeping keeps together
MOVED = ("knobs", "heartbeat", "start_token")  # without INTERNAL in earlier releases
HOST = "d2n.host"
PID = "d2n.pid"
PROCESS_START = "d2n.process_start"  # seconds after its machine's start: an id is used again
PROCESSES = "d2n.processes"  # the machine (its boot) and the namespace that the process id belongs to
HEARTBEAT = "d2n.internal.heartbeat"  # seconds since 1970, renewed every minute
ATTEMPT = "d2n.attempt"  # 1 for a new run, one more at each resumption
ERROR = "d2n.error"  # one line, on runs that failed
_RESUMED_WITH = "d2n.resumed_with."
START_TOKEN = "d2n.internal.start_token"  # noqa: S105 - tells a repeated creation from a second run
CLOSED_BY = "d2n.closed_by"  # doctor, when it closed an orphan

# Tags: studies -----------------------------------------------------------------------------------------------

STUDY = "d2n.study"
STUDY_UID = "d2n.study.uid"  # two storages may hold studies of one name
TRIALS = "d2n.trials."  # of a study: before a state in small letters, the number of its trials
TRIAL = "d2n.trial"
WORKER = "d2n.worker"
JOB, NODE, LOG = "d2n.job", "d2n.node", "d2n.log"  # of a worker that a cluster runs; the log's path there
TRIAL_STATE = "d2n.trial.state"
SEED_OF_TRIAL = "d2n.trial.seed"  # on the run of one seed below a trial with several
FINGERPRINT = "d2n.fingerprint"  # sha256 of resolved knobs, data and code: equal means identical work
REUSED_RUN = "d2n.reused_run"  # whose scores a trial took over

# Tags: the registered generator that a run used, and the runs that used a version --------------------------------

GENERATOR_NAME = "d2n.generator.name"
GENERATOR_VERSION = "d2n.generator.version"
GENERATOR_MODEL_ID = "d2n.generator.model_id"
_USED_BY = "d2n.used_by."

# Tags: what a model's files are (on the logged model and on its versions) ---------------------------------------

SEAL = "d2n.sha256"  # JSON: path in the model's folder → sha256; continued under numbered names
INPUT_RANGE = "d2n.input_range"  # of a generator: what values its images have
UNIT_RANGE, SIGNED_RANGE = "0..1", "-1..1"  # the first takes uint8 too
WAY_BACK_OF = "d2n.way_back_of"  # on a version: NAME/VERSION that it undoes
RESEALED_FROM = "d2n.resealed_from"  # the version whose weights a new archive holds
_ALIAS_MOVE = "d2n.alias."
_USES = "d2n.uses."
ARM_OF = "d2n.arm_of"  # on the one retrieval run that measures a champion: NAME/VERSION
ARM_RUN = "d2n.arm.run"  # on the version: that run, when its mAP is written back

# Tags of a registered model: who registers now, what was decided, what never becomes the champion ----------------

_LOCK, _LOCK_SEEN = "d2n.lock.", "d2n.lock-seen."
_KEPT = "d2n.kept."
VETO = "d2n.veto"  # on a version and on its run; on the model with the version behind a dot
PROMOTED_MODEL = "d2n.promotion.model"  # of a promotion's run: the registered model
PROMOTION_STATE = "d2n.promotion.state"  # void, where the alias never moved
DECISION = "decision.json"  # artifact of a promotion's run

# Metrics -----------------------------------------------------------------------------------------------------------

PRD_OVERLAY = "prd/precision"  # step = round(1000 * recall)
TIME_EPOCH = "time/epoch_s"
TIME_SCORE = "time/score_s"
TIME_TOTAL = "time/total_s"
IMAGES_PER_S = "time/images_per_s"
SYSTEM = "system/"  # MLflow's own: its page of a run has a tab for these
ENERGY_WH = f"{SYSTEM}energy_watt_hours"  # of the whole GPUs and processors, since the run began

# Artifacts ---------------------------------------------------------------------------------------------------------

SAMPLES = "samples/grid"  # key of the image grid
SAMPLE_SHEET = "samples/sheet.png"
REAL_NIGHT_SHEET = "samples/real_night.png"  # of the same places, where pairs are
WAY_BACK_FOLDER = "way_back"  # the weights of the generator from target to source, and their card
CONFIG_YAML = "config/experiment.yaml"
CONFIG_JSON = "config/resolved.json"

_LEGAL = re.compile(r"[A-Za-z0-9_\-. :/]{1,250}")
_ALIAS = re.compile(r"[A-Za-z0-9_\-]{1,255}")
_VERSION_LIKE = re.compile(r"(?i)v\d+")


def experiment(dataset: str) -> str:
    """The MLflow experiment of a data set."""
    return f"d2n/{dataset}"


def generator_model(dataset: str, source: str = "day", target: str = "night") -> str:
    """The registered generator of a data set: ``d2n-toycity``; in another direction ``d2n-toycity.dusk-night``.

    RegistryError where two could meet in one name.
    """
    other = "" if (source, target) == ("day", "night") else f".{source}-{target}"
    return f"{naming.GENERATORS}{naming.checked_dataset(dataset + other, 'the data set', RegistryError)}"


def retrieval_model(dataset: str) -> str:
    """The registered retrieval network of a data set: ``d2n-retrieval-toycity``."""
    return f"{naming.RETRIEVAL_NETWORKS}{naming.checked_dataset(dataset, 'the data set', RegistryError)}"


def seed_alias(seed: int) -> str:
    """The alias of the champion's setting trained with another seed."""
    return f"{CHAMPION}-seed-{seed}"


def is_seed_alias(alias: str) -> bool:
    """Whether the alias names a seed of the champion."""
    return alias.startswith(f"{CHAMPION}-seed-")


def seed_of_alias(alias: str) -> int | None:
    """The seed that an alias of seed_alias names; None for another alias."""
    text = alias.removeprefix(f"{CHAMPION}-seed-")
    return int(text) if is_seed_alias(alias) and text.isdecimal() and len(text) < 19 else None


def loss(name: str) -> str:
    """Metric of a training loss; step = training step."""
    return f"loss/{legal(name)}"


def alarm(name: str) -> str:
    """Metric of a training alarm, such as the outputs' deviation; step = epoch."""
    return f"alarm/{legal(name)}"


def score(name: str) -> str:
    """Metric of a score (``fid``, ``prd/f8`` …); step = epoch."""
    return f"score/{legal(name)}"


def score_part(part: Literal["std", "low", "high", "floor"], name: str) -> str:
    """Metric beside a score: its deviation, an end of its 95 % interval, or what real against real scores."""
    return f"score_{part}/{legal(name)}"


def on(dataset: str, name: str = "") -> str:
    """Metric of a score on another data set than the generator's own: ``on/rsfm/fid``; without a name their prefix."""
    return f"on/{legal(dataset)}/{legal(name) if name else ''}"


def best(objective: str) -> str:
    """Metric of a study: what its best trial reached."""
    return f"best/{legal(objective)}"


def protocol(score_name: str) -> str:
    """Tag and param with the protocol identity of one score."""
    return f"{PROTOCOL}/{legal(score_name)}"


def search(name: str) -> str:
    """Metric or param of a search dimension, such as ``search/lr_log10``."""
    return f"search/{legal(name)}"


def test_score(name: str) -> str:
    """Metric of a score on the test split."""
    return f"{TEST}{legal(name)}"


def benchmark(name: str, measure: str) -> str:
    """Metric of a retrieval benchmark, the mean over seeds: ``map/toycity/night``."""
    return f"{legal(measure)}/{legal(name)}"


def resumed_with(knob: str) -> str:
    """Tag on a resumed run: a knob of the machine that differs from the param, which stays the first."""
    return f"{_RESUMED_WITH}{knob}"


def run_page(experiment_id: str, run_id: str) -> str:
    """Where a run is, below the server's address, in the pages for training and not in those for chats."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def shared_view(key: str) -> str:
    """Tag on an experiment: a saved view of its runs, which the UI opens by its key."""
    return f"{_SHARED_VIEW}{key}"


def used_by(run_id: str) -> str:
    """Tag on a model version: this run used it."""
    return f"{_USED_BY}{run_id}"


def run_of_used_by(tag: str) -> str | None:
    """The run id inside a ``used_by`` tag; None for another tag."""
    return tag.removeprefix(_USED_BY) if tag.startswith(_USED_BY) else None


def seal(number: int) -> str:
    """Tag with a part of a model's sums: ``d2n.sha256``, then ``d2n.sha256.1`` …"""
    return f"{SEAL}.{number}" if number else SEAL


def alias_move(alias: str, stamp: str) -> str:
    """Tag on a registered model: one move of an alias at a moment (``20300102T030405.678901Z``)."""
    return f"{_ALIAS_MOVE}{alias}.{stamp}"


def alias_of_move(tag: str) -> tuple[str, str] | None:
    """(alias, stamp) inside an ``alias_move`` tag; None for another tag."""
    alias, dot, stamp = tag.removeprefix(_ALIAS_MOVE).partition(".")
    return (alias, stamp) if tag.startswith(_ALIAS_MOVE) and dot else None


def test_use(stamp: str) -> str:
    """Tag on an experiment: its test images were used for a decision at this moment."""
    return f"{_TEST_USE}{stamp}"


def is_test_use(tag: str) -> bool:
    """Whether a tag is a ``test_use``."""
    return tag.startswith(_TEST_USE)


def lock(token: str) -> str:
    """Tag on a registered model: this holder registers now, or wants to."""
    return f"{_LOCK}{token}"


def lock_seen(token: str) -> str:
    """Tag on a registered model: the holder's last sign of life."""
    return f"{_LOCK_SEEN}{token}"


def token_of_lock(tag: str) -> str | None:
    """The token inside a ``lock`` tag; None for another tag."""
    return tag.removeprefix(_LOCK) if tag.startswith(_LOCK) else None


def token_of_lock_seen(tag: str) -> str | None:
    """The token inside a ``lock_seen`` tag; None for another tag."""
    return tag.removeprefix(_LOCK_SEEN) if tag.startswith(_LOCK_SEEN) else None


def kept(stamp: str) -> str:
    """Tag on a registered model: a decision to keep the champion, at a moment."""
    return f"{_KEPT}{stamp}"


def stamp_of_kept(tag: str) -> str | None:
    """The stamp inside a ``kept`` tag; None for another tag."""
    return tag.removeprefix(_KEPT) if tag.startswith(_KEPT) else None


def veto_of(version: str) -> str:
    """Tag on a registered model: this version never becomes the champion, whatever becomes of the version."""
    return f"{VETO}.{version}"


def version_of_veto(tag: str) -> str | None:
    """The version inside a ``veto_of`` tag; None for another tag."""
    return tag.removeprefix(f"{VETO}.") if tag.startswith(f"{VETO}.") else None


def arm_map(measure: str) -> str:
    """Tag on a version: what a retrieval network trained with its nights reached, such as ``map/toycity/night``."""
    return f"d2n.arm.{legal(measure)}"


def uses(role: str) -> str:
    """Tag on a run: what it uses as ``generator``, ``queries`` or ``extractor`` (JSON)."""
    return f"{_USES}{role}"


def role_of_use(tag: str) -> str | None:
    """The role inside a ``uses`` tag; None for another tag."""
    return tag.removeprefix(_USES) if tag.startswith(_USES) else None


def legal(name: str) -> str:
    """The name with every character that MLflow refuses made ``-`` (``retrieval:m@a`` keeps ``:``, loses ``@``)."""
    cleaned = re.sub(r"[^A-Za-z0-9_\-. :/]", "-", name).strip("/ ")
    cleaned = re.sub(r"/{2,}", "/", re.sub(r"\.{2,}", ".", cleaned))
    return cleaned or "-"


def checked(name: str, what: str = "name") -> str:
    """The name itself, if MLflow takes it as a param, metric or tag; TrackingError else."""
    if not _LEGAL.fullmatch(name):
        raise TrackingError(
            f"{what} {name!r} cannot be logged: expected 1 to 250 of letters, digits and _ - . space : /"
        )
    if posixpath.normpath(name) != name or name.startswith(("/", "..")) or name == ".":
        raise TrackingError(
            f"{what} {name!r} cannot be logged: expected a plain path without '//', '.' or '..'"
        )
    if name.startswith("system/"):
        raise TrackingError(
            f"{what} {name!r} cannot be logged: 'system/' belongs to MLflow; choose another prefix"
        )
    return name


def checked_alias(alias: str) -> str:
    """The alias itself, if the registry takes it; TrackingError else."""
    if (
        not naming.is_name(alias)
        or not _ALIAS.fullmatch(alias)
        or alias == "latest"
        or _VERSION_LIKE.fullmatch(alias)
    ):
        raise TrackingError(
            f"alias {naming.brief(alias)} is not allowed: expected letters, digits, _ and -, not 'latest' and not "
            "'v<number>'"
        )
    return alias


def checked_model(name: str) -> str:
    """The name itself, if a model can be registered under it; TrackingError else."""
    return naming.checked_name(name, "model name", TrackingError)


def equals(key: str, value: str) -> str:
    """A term of an MLflow search; '' where its syntax, which has no escape, cannot hold the value: compare then."""
    if "\\" in value or not value.isprintable() or ("'" in value and '"' in value):
        return ""
    quote = '"' if "'" in value else "'"
    return f"{key} = {quote}{value}{quote}"
