"""What the tags of a run or of a model's version say of it: the one place where they are read as words."""

from __future__ import annotations

from collections.abc import Mapping

from d2n.tracking import names


class Labelled:
    """A thing with tags. A tag that is absent reads as ''; the one that must be read as JSON is in records/."""

    tags: Mapping[str, str]

    @property
    def kind(self) -> str:
        """``translation``, ``retrieval``, ``trial``, ``promotion`` …"""
        return self._label(names.KIND)

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self._label(names.DATASET)

    @property
    def dataset_digest(self) -> str:
        """Identity of the data set's content."""
        return self._label(names.DATASET_DIGEST)

    @property
    def method(self) -> str:
        """The translation method, such as ``pix2pix``."""
        return self._label(names.METHOD)

    @property
    def seed(self) -> str:
        """The training's seed, as text."""
        return self._label(names.SEED)

    @property
    def domains(self) -> tuple[str, str]:
        """What a generator translates from and to; day and night where nothing is said."""
        return self.tags.get(names.SOURCE, "day"), self.tags.get(names.TARGET, "night")

    @property
    def logged_model(self) -> str:
        """Id of the logged model of a run that left one."""
        return self._label(names.MODEL_ID)

    @property
    def study(self) -> str:
        """The study's name, of a study's run and of its trials'."""
        return self._label(names.STUDY)

    @property
    def trial(self) -> str:
        """The trial's number, as text."""
        return self._label(names.TRIAL)

    @property
    def parent_run(self) -> str:
        """Id of the run that this one is below."""
        return self._label(names.PARENT_RUN)

    @property
    def protocol(self) -> str:
        """Identity of the validation scores' protocol."""
        return self._label(names.PROTOCOL)

    @property
    def alarms(self) -> str:
        """Alarms raised in training, with the last step of each."""
        return self._label(names.ALARMS)

    def _label(self, tag: str) -> str:
        return self.tags.get(tag, "")
