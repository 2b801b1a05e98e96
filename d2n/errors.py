"""Errors a user can mend. The command line prints their one line and exits with 2; all others are bugs.

A message says what was found, what was expected and what to do next.
"""


class D2NError(Exception):
    """The base of every error a user can mend."""


class ConfigError(D2NError):
    """A YAML, an override or a knob is wrong."""


class DataError(D2NError):
    """A data set, an index or a benchmark is missing, empty or inconsistent."""


class ImageError(DataError):
    """One image cannot be used; the message begins with its path."""


class ScoreError(D2NError):
    """Numbers a score is not defined for."""


class ProtocolMismatchError(ScoreError):
    """Two scores taken under different protocols were about to be compared."""


class ShapeError(D2NError, ValueError):
    """A tensor's sides do not fit the network."""


class WeightsError(D2NError):
    """A weights file is absent, damaged or of another architecture."""


class CheckpointError(D2NError):
    """A checkpoint is damaged or belongs to another configuration."""


class OtherKnobsError(CheckpointError):
    """A run or a checkpoint was made under other knobs, data or scores than it shall go on with."""


class RetrievalError(D2NError):
    """Descriptors, pairs or clusters that retrieval cannot be learned from or measured on."""


class TrainingError(D2NError):
    """Training cannot go on: a loss is not finite, an alarm is set to stop."""


class TrackingError(D2NError):
    """The tracking store cannot be reached, is half-made or refuses a value."""


class ServerAwayError(TrackingError):
    """The tracking server was away for longer than it is waited for; what it should have got is kept on disk."""


class RegistryError(TrackingError):
    """A registered model, version or alias is absent or does not load."""


class StudyError(D2NError):
    """A study's file, storage or state is wrong."""
