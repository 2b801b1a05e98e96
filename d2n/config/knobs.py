"""Every knob of a translation experiment, typed, with its range and default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from d2n.config import methods
from d2n.config.methods import OneOfMethods
from d2n.config.translator import TranslatorConfig
from d2n.config.types import STRICT, Device, Name, Scalar, Seed


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Which images, and how a training crop is taken from them."""

    __pydantic_config__ = STRICT
    name: Name = "toycity"
    """The data set: one of `d2n data list`, or the name that a folder was prepared under with --as."""
    root: str | None = None
    """Folder of the images; null: data/<name>."""
    index: str | None = None
    """Where the index lies, a file or its folder; null: beside the images."""
    source: Name = "day"
    """The domain that is translated: day, night, or a condition of the set, such as dusk."""
    target: Name = "night"
    """The domain that it is translated to."""
    domains: Annotated[tuple[Name, ...], MaxLen(100)] = ()
    """combogan, stargan, todaygan: all domains that are learnt, source and target among them; []: those two."""
    paired: bool | None = None
    """Whether day and night images come in pairs; null: as the method needs."""
    image_size_px: Annotated[int, Ge(8), Le(4096)] = 256
    """Side of the square training crop."""
    load: Literal["auto", "crop", "resize"] = "auto"
    """crop: a random crop; resize: the whole image, squeezed to a square; auto: resize for robotcar, else crop."""
    shorter_side_px: Annotated[int, Ge(8), Le(16384)] | None = None
    """Images are shrunk to this shorter side before the crop; null: not at all."""
    scale_min: Annotated[float, Gt(0), Le(1)] = 0.6
    """Least share of the shorter side that a crop shows."""
    scale_max: Annotated[float, Gt(0), Le(1)] = 1.0
    """Largest share of the shorter side that a crop shows."""
    flip: bool = False
    """Mirror half of the crops left to right."""
    on_bad_image: Literal["fail", "skip"] = "fail"
    """Stop at an image that cannot be read, or skip it and count it."""
    cache_mb: Annotated[int, Ge(0), Le(10_000_000)] = 0
    """Decoded, pre-shrunk images kept on disk, in MB; 0: none."""
    rule: Mapping[str, Scalar | list[Scalar]] = field(default_factory=dict)
    """The set's own knobs of selection and splits (docs/datasets.md), such as rule.val_share."""

    @property
    def direction(self) -> tuple[str, ...]:
        """The source, the target, then the other domains."""
        first = (self.source, self.target)
        return (*first, *(domain for domain in self.domains if domain not in first))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, on what, and what is kept."""

    __pydantic_config__ = STRICT
    n_epochs: Annotated[int, Ge(1), Le(1_000_000)] = 150
    """Epochs of the training."""
    steps_per_epoch: Annotated[int, Ge(1), Le(100_000_000)] | None = None
    """Steps an epoch; null: one pass over the pairs, or over the larger domain."""
    batch_size: Annotated[int, Ge(1), Le(4096)] = 5
    """Images of each domain a step."""
    device: Device = "auto"
    """cpu, cuda, cuda:1 …; auto: CUDA where there is a device."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the networks; auto: bf16 where the device is fast with it."""
    channels_last: bool = True
    """Memory layout that convolutions like; numbers differ in rounding."""
    compile: bool = False
    """torch.compile the networks: slower to start, faster a step."""
    cuda_graphs: bool = True
    """On a CUDA device record a step once, then replay it: no waiting for Python, the same numbers."""
    num_workers: Annotated[int, Ge(0), Le(1024)] = 0
    """Processes that load images; 0: the training's own."""
    num_threads: Annotated[int, Ge(0), Le(1024)] = 0
    """Threads of torch; 0: as the machine offers."""
    log_every_steps: Annotated[int, Ge(1), Le(100_000_000)] = 50
    """Steps between two logged losses."""
    log_system: bool = True
    """Log CPU, memory, GPU and energy (where it can be read) every half minute."""
    tracking_wait_s: Annotated[float, Ge(0), Le(3600)] = 10.0
    """Longest wait of a step for the tracking server; then what is logged is kept on disk and sent later."""
    tracking_patience_s: Annotated[float, Ge(0), Le(1_000_000)] = 300.0
    """Longest wait for it where the run needs it: at its end, or when spool_mb is full."""
    spool_mb: Annotated[int, Ge(1), Le(1_000_000)] = 1024
    """What may wait on disk for a tracking server that is away; beyond it the training waits, then ends."""
    checkpoint_every_epochs: Annotated[int, Ge(1), Le(1_000_000)] = 1
    """Epochs between two checkpoints."""
    keep_best: Annotated[int, Ge(1), Le(1000)] = 1
    """Generators kept, the best by the first score."""
    stop_on_collapse: bool = False
    """End the run as failed when the outputs no longer depend on the inputs (docs/alarms.md)."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Scores on held-out images."""

    __pydantic_config__ = STRICT
    every_epochs: Annotated[int, Ge(1), Le(1_000_000)] = 5
    """Epochs between two evaluations; the last epoch is always evaluated."""
    split: Literal["val", "test"] = "val"
    """The held-out images that are scored while training; test is for promotion."""
    extractor: str = "inception"
    """Features of the scores: inception, a torchvision name, random-<name>, or retrieval:MODEL@ALIAS."""
    weights: str | None = None
    """A local weights file of the extractor; null: torchvision's own, downloaded once."""
    input: Literal["imagenet", "caffe", "tf"] = "imagenet"
    """How a torchvision extractor's RGB is normalised; caffe and tf for weights that were trained so."""
    resize: Literal["clean", "tf1", "torch"] = "clean"
    """How images are resized for the extractor; scores of different resizes do not compare."""
    resize_px: Annotated[int, Ge(8), Le(4096)] | None = None
    """Side that images are resized to; null: the extractor's own."""
    num_images: Annotated[int, Ge(2), Le(100_000_000)] | None = None
    """Images scored on each side; null: as many as both sides have."""
    scores: Annotated[tuple[str, ...], MinLen(1), MaxLen(100)] = ("fid", "kid", "prd")
    """Which scores; the first one chooses the best generator."""
    num_clusters: Annotated[int, Ge(2), Le(100_000)] = 20
    """Clusters of PRD's histograms."""
    num_bootstrap: Annotated[int, Ge(0), Le(1_000_000)] = 200
    """Resamples of a score's interval; 0: no interval."""
    num_samples: Annotated[int, Ge(0), Le(10_000)] = 8
    """Held-out day images in the sample sheet."""
    on: tuple[str, ...] = ("own",)
    """own, the data set that is trained on; `d2n score RUN_ID --on NAME` scores on others."""


@dataclass(frozen=True, kw_only=True)
class TranslationExperiment:
    """Train a translator on a data set and score it."""

    __pydantic_config__ = STRICT
    kind: Literal["translation"] = "translation"
    """What the YAML is: translation trains a generator."""
    name: Name = "translation"
    """Name of its runs."""
    preset: Literal["thesis", "reference", "later", "published", "toy"] = "thesis"
    """Defaults by method: thesis, reference (the public code), later, published (the paper), toy (small, for a CPU)."""
    seed: Seed = 0
    """Seed of weights, crops and order: the same seed gives the same numbers on the same machine."""
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    translator: Annotated[TranslatorConfig, OneOfMethods()] = field(default_factory=methods.DEFAULT.config)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
