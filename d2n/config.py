"""Every knob, typed, with its range and default; loading, overriding and flattening of experiments.

The knobs are plain frozen dataclasses, so that training imports them where pydantic is absent;
pydantic validates them when a YAML is loaded.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from d2n import shipped
from d2n.errors import ConfigError
from d2n.files import yaml
from d2n.files.fields import odd_values
from d2n.files.reading import brief, one_line
from d2n.naming import checked_name, checked_title

_STRICT = {"extra": "forbid", "strict": False, "allow_inf_nan": False}
Scalar = str | int | float | bool | None
Name = Annotated[str, MinLen(1), MaxLen(100)]  # of what becomes a folder, a run, a registered model
Seed = Annotated[int, Ge(0), Lt(2**31)]
Weight = Annotated[float, Ge(0), Le(1e6)]  # of a loss
DEVICES_EXPECTED = "auto, cpu, cuda, cuda:N, mps or xpu"


def is_device_name(name: str) -> bool:
    """Whether a device may be called so; whether this machine has it is for d2n.devices to say."""
    return re.fullmatch(r"auto|(cpu|mps)(:0)?|(cuda|xpu)(:[0-9]{1,3})?", name) is not None


class _DeviceName:
    """The pydantic side of a device's name."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def checked(name: str) -> str:
            if not is_device_name(name):
                raise PydanticCustomError("device", "expected {expected}", {"expected": DEVICES_EXPECTED})
            return name

        return core_schema.no_info_after_validator_function(checked, handler(source))


Device = Annotated[str, _DeviceName()]


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Which images, and how a training crop is taken from them."""

    __pydantic_config__ = _STRICT
    name: Name = "toycity"
    """The data set: one of `d2n data list`, or the name that a folder was prepared under with --as."""
    root: str | None = None
    """Folder of the images; null: data/<name>."""
    index: str | None = None
    """Where the index lies, a file or its folder; null: beside the images."""
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


@dataclass(frozen=True, kw_only=True)
class TranslatorConfig:
    """A GAN: networks, losses, optimiser. Defaults are the thesis's CycleGAN."""

    __pydantic_config__ = _STRICT
    method: Literal["pix2pix", "cyclegan", "cut"] = "cyclegan"
    """The GAN: pix2pix learns from pairs, cyclegan and cut need none."""
    # networks
    generator: Literal["unet", "resnet"] = "resnet"
    """Network of the generator."""
    generator_channels: Annotated[int, Ge(1), Le(512)] = 64
    """Channels of the generator's first layer; cost grows with their square."""
    generator_blocks: Annotated[int, Ge(0), Le(32)] = 9
    """Residual blocks of a resnet generator."""
    unet_depth: Annotated[int, Ge(2), Le(10)] = 8
    """Halvings of a unet generator: image sides must divide by 2^depth."""
    generator_norm: Literal["batch", "instance", "none"] = "instance"
    """Normalisation layers of the generator."""
    discriminator_channels: Annotated[int, Ge(1), Le(512)] = 64
    """Channels of the discriminator's first layer."""
    discriminator_layers: Annotated[int, Ge(0), Le(6)] = 3
    """Strided layers of the PatchGAN: 3 judges patches of 70 px, 0 single pixels."""
    discriminator_norm: Literal["batch", "instance", "none"] = "instance"
    """Normalisation layers of the discriminator."""
    upsampling: Literal["transposed", "resize"] = "transposed"
    """Transposed convolutions, or resizing before a convolution (no checkerboards)."""
    late_input: bool = False
    """The input joins again before the generator's last convolution, so that detail survives."""
    antialias: bool = False
    """resnet: blurred downsampling and interpolated upsampling, as CUT is published."""
    init_gain: Annotated[float, Gt(0), Le(10)] = 0.02
    """Standard deviation of the initial weights."""
    dropout: bool = False
    """Dropout in the generator."""
    inference_norm: Literal["batch", "running"] = "running"
    """What batch norm uses outside training: running statistics, or those of the batch as published."""
    # losses
    gan_loss: Literal["vanilla", "least_squares", "hinge"] = "vanilla"
    """The adversarial loss."""
    lambda_l1: Weight = 100.0
    """pix2pix: weight of the L1 distance to the paired night image."""
    lambda_cycle: Weight = 10.0
    """CycleGAN: weight of the cycle consistency; content is lost where it is low."""
    lambda_identity: Weight = 0.0
    """Weight of the identity loss; the weight itself, not a factor of lambda_cycle."""
    lambda_nce: Weight = 1.0
    """CUT: weight of the patchwise contrastive loss."""
    lambda_edge: Weight = 0.0
    """Weight of the difference of edges between day and fake night."""
    lambda_history: Weight = 0.0
    """Weight of historical averaging (thesis 2.3.4)."""
    normalize_loss_weights: bool = False
    """Divide the loss weights by their sum (thesis equation 3.1)."""
    pool_size: Annotated[int, Ge(0), Le(100_000)] = 50
    """Earlier fakes that the discriminator sees again; 0: none."""
    diffaugment: tuple[Literal["translation", "cutout"], ...] = ()
    """Augmentations of what the discriminator sees, differentiable: for few images."""
    # optimiser
    lr: Annotated[float, Gt(0), Lt(10)] = 2e-4
    """Adam's learning rate."""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Adam's decay of the mean gradient."""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """Adam's decay of the mean squared gradient."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls from lr_decay_start on."""
    lr_decay_start: Annotated[float, Ge(0), Lt(1)] = 0.5
    """When the learning rate begins to fall, as a share of all steps."""
    gradient_clip: Annotated[float, Ge(0), Le(1e6)] = 0.0
    """Largest norm of a gradient; 0: not clipped."""
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Decay of the moving average of the generator's weights, which is what is scored; 0: off."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, on what, and what is kept."""

    __pydantic_config__ = _STRICT
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
    num_workers: Annotated[int, Ge(0), Le(1024)] = 0
    """Processes that load images; 0: the training's own."""
    num_threads: Annotated[int, Ge(0), Le(1024)] = 0
    """Threads of torch; 0: as the machine offers."""
    log_every_steps: Annotated[int, Ge(1), Le(100_000_000)] = 50
    """Steps between two logged losses."""
    checkpoint_every_epochs: Annotated[int, Ge(1), Le(1_000_000)] = 1
    """Epochs between two checkpoints."""
    keep_best: Annotated[int, Ge(1), Le(1000)] = 1
    """Generators kept, the best by the first score."""
    stop_on_collapse: bool = False
    """End the run as failed when the outputs no longer depend on the inputs (docs/alarms.md)."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Scores on held-out images."""

    __pydantic_config__ = _STRICT
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
    """Not read yet: the data set that is trained on, own, is always the one that is scored."""


@dataclass(frozen=True, kw_only=True)
class TranslationExperiment:
    """Train a translator on a data set and score it."""

    __pydantic_config__ = _STRICT
    kind: Literal["translation"] = "translation"
    """What the YAML is: translation trains a generator."""
    name: Name = "translation"
    """Name of its runs."""
    preset: Literal["thesis", "reference", "later", "toy"] = "thesis"
    """Defaults by method: thesis, reference (as published), later, toy (small networks for a CPU)."""
    seed: Seed = 0
    """Seed of weights, crops and order: the same seed gives the same numbers on the same machine."""
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    translator: TranslatorConfig = field(default_factory=TranslatorConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The retrieval network: a trunk, GeM pooling, L2."""

    __pydantic_config__ = _STRICT
    backbone: str = "vgg16"
    """The trunk: toy, or a torchvision name such as vgg16 or squeezenet1_0."""
    weights: str | None = None
    """Weights file of the trunk; null: torchvision's own; none: untrained."""
    input: Literal["imagenet", "caffe", "tf"] = "imagenet"
    """How RGB is normalised; caffe and tf for weights that were trained so."""
    gem_p: Annotated[float, Gt(0), Le(1000)] = 3.0
    """Exponent of GeM pooling at the start; it is learned."""
    gem_per_channel: bool = False
    """One exponent a channel in place of one for all."""


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """Scene classification before the contrastive fine-tuning, for networks without ImageNet weights."""

    __pydantic_config__ = _STRICT
    n_epochs: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """Epochs as a classifier of scenes before the contrastive training; 0: none."""
    batch_size: Annotated[int, Ge(2), Le(65536)] = 64
    """Images a step."""
    lr: Annotated[float, Gt(0), Lt(10)] = 1e-3
    """Adam's learning rate."""


@dataclass(frozen=True, kw_only=True)
class RetrievalTrainingConfig:
    """Contrastive fine-tuning with hard negatives; defaults are the thesis's."""

    __pydantic_config__ = _STRICT
    n_epochs: Annotated[int, Ge(0), Le(1_000_000)] = 40
    """Epochs of contrastive fine-tuning; 0: the network is measured as it is."""
    num_queries: Annotated[int, Ge(1), Le(100_000_000)] = 2000
    """Tuples an epoch: a query, its positive and its negatives."""
    pool_size: Annotated[int, Ge(1), Le(100_000_000)] = 20000
    """Images that hard negatives are mined from, drawn anew each epoch."""
    num_negatives: Annotated[int, Ge(1), Le(1000)] = 5
    """Hard negatives a tuple."""
    tuples_per_step: Annotated[int, Ge(1), Le(4096)] = 5
    """Tuples whose gradients make one step."""
    image_size_px: Annotated[int, Ge(8), Le(8192)] = 362
    """Longer side of the training images."""
    margin: Annotated[float, Gt(0), Le(100)] = 0.75
    """Distance beyond which a negative costs nothing."""
    lr: Annotated[float, Gt(0), Lt(10)] = 5e-7
    """Adam's learning rate."""
    weight_decay: Annotated[float, Ge(0), Le(100)] = 5e-4
    """Weight decay."""
    lr_schedule: Literal["exponential", "cosine"] = "exponential"
    """How the learning rate falls, an epoch at a time."""
    lr_gamma: Annotated[float, Gt(0), Le(1)] = 0.99
    """exponential: factor of the learning rate an epoch."""
    gem_lr_factor: Annotated[float, Ge(0), Le(1e6)] = 10.0
    """Learning rate of GeM's exponent, as a multiple of lr."""
    device: Device = "auto"
    """cpu, cuda, cuda:1 …; auto: CUDA where there is a device."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the network; auto: bf16 where the device is fast with it."""
    num_workers: Annotated[int, Ge(0), Le(1024)] = 0
    """Processes that load images; 0: the training's own."""
    num_threads: Annotated[int, Ge(0), Le(1024)] = 0
    """Threads of torch; 0: as the machine offers."""


@dataclass(frozen=True, kw_only=True)
class NightConfig:
    """Night augmentation of training images, thesis 3.4."""

    __pydantic_config__ = _STRICT
    augmentation: Literal["none", "generator", "photometric", "clahe"] = "none"
    """What a share of the training images goes through: a generator, random darkening, CLAHE, or nothing."""
    generator: str | None = None
    """Which generator: models:/NAME@ALIAS, a run id, or a folder that `d2n pull` wrote."""
    probability: Annotated[float, Ge(0), Le(1)] = 0.15
    """Share of the images that is turned to night."""
    targets: Literal["all", "anchor", "positive", "negatives"] = "all"
    """Which images of a tuple may be turned to night."""
    choice: Literal["random", "hash"] = "random"
    """random: drawn anew each time; hash: an image is always or never turned."""
    mine_through: bool = False
    """Mine hard negatives on augmented images too."""


@dataclass(frozen=True, kw_only=True)
class RetrievalEvaluationConfig:
    """Extraction, whitening and the benchmarks that mAP is measured on."""

    __pydantic_config__ = _STRICT
    benchmarks: tuple[str, ...] = ("toycity",)
    """What mAP is measured on: toycity, tokyo247, roxford5k, rparis6k, or a prepared folder's name."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """Folder of each benchmark that is not in data/<name>."""
    split: Literal["val", "test"] = "test"
    """Which images the benchmark takes, where it has splits."""
    image_size_px: Annotated[int, Ge(8), Le(8192)] = 1024
    """Longer side of the images that are described."""
    square: bool = False
    """Stretch images to squares: hides their size, which gives a fixed webcam away."""
    scales: Annotated[tuple[Annotated[float, Gt(0), Le(8)], ...], MinLen(1), MaxLen(32)] = (
        1.0,
        0.7071067811865476,
        0.5,
    )
    """Scales of the image whose descriptors are averaged."""
    whitening: Literal["learned", "pca", "none"] = "learned"
    """learned from training pairs, pca of training images, or none."""
    whitening_dim: Annotated[int, Ge(1), Le(65536)] | None = None
    """Dimensions kept by whitening; null: all."""
    query_translation: str | None = None
    """A night-to-day generator that queries go through; null: none."""


@dataclass(frozen=True, kw_only=True)
class RetrievalExperiment:
    """Fine-tune a retrieval network, with or without night augmentation, and measure mAP."""

    __pydantic_config__ = _STRICT
    kind: Literal["retrieval"] = "retrieval"
    """What the YAML is: retrieval trains and measures a network."""
    name: Name = "retrieval"
    """Name of its runs."""
    seed: Seed = 0
    """Seed of the first training."""
    num_seeds: Annotated[int, Ge(1), Le(1000)] = 1
    """Trainings, with seed, seed + 1, …: mean and deviation over them."""
    register_as: Name | None = None
    """Register the first seed's network under this name, alias baseline; null: not."""
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    training: RetrievalTrainingConfig = field(default_factory=RetrievalTrainingConfig)
    night: NightConfig = field(default_factory=NightConfig)
    evaluation: RetrievalEvaluationConfig = field(default_factory=RetrievalEvaluationConfig)


Experiment = TranslationExperiment | RetrievalExperiment

# Knobs that change where and how fast something is computed, never what is found: no part of a study's identity, and
# a run goes on under others.
MACHINE_KNOBS = (
    "dataset.root", "dataset.index", "dataset.cache_mb",
    "training.device", "training.num_workers", "training.num_threads", "training.log_every_steps",
    "training.checkpoint_every_epochs", "training.keep_best",
    "evaluation.num_samples", "evaluation.weights", "evaluation.roots",
)  # fmt: skip
# The same but for rounding: a run may go on under others, two runs of one study share them.
ROUNDING_KNOBS = ("training.compile", "training.channels_last")

_UNET = {"generator": "unet", "generator_norm": "batch", "discriminator_norm": "batch", "pool_size": 0}
_RESNET = {"generator": "resnet", "generator_norm": "instance", "discriminator_norm": "instance"}
_CUT = {**_RESNET, "pool_size": 0, "lambda_identity": 1.0}  # both weights 1, Park et al. 2020
_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "pix2pix": _UNET,
    "cyclegan": _RESNET,
    "cut": _CUT,
}
_THESIS = {"beta1": 0.9, "lr": 2e-4, "lr_schedule": "constant", "gan_loss": "vanilla"}
_REFERENCE = {"beta1": 0.5, "lr": 2e-4, "lr_schedule": "linear"}
_TOY = {
    "beta1": 0.5,
    "lr": 4e-4,
    "lr_schedule": "linear",
    "generator_norm": "instance",
    "discriminator_norm": "instance",
    "discriminator_channels": 24,
    "discriminator_layers": 2,
    "upsampling": "resize",
    "late_input": True,
}
_TOY_DATA = {"image_size_px": 64, "scale_min": 0.7}

# What each preset sets, by method; knobs given in the YAML win. Sources: thesis 3.2.1; Isola et al. 2017 and
# Zhu et al. 2017 (reference); the thesis's author's later practice (later); toy: small nets for two CPU cores.
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "thesis": {
        "pix2pix": {"translator": {**_UNET, **_THESIS, "dropout": True}, "training": {"batch_size": 5}},
        "cyclegan": {"translator": {**_RESNET, **_THESIS}, "training": {"batch_size": 5}},
        "cut": {"translator": {**_CUT, **_THESIS}, "training": {"batch_size": 5}},
    },
    "reference": {
        "pix2pix": {
            "dataset": {"scale_min": 0.895, "scale_max": 0.895, "flip": True},
            "translator": {
                **_UNET,
                **_REFERENCE,
                "gan_loss": "vanilla",
                "dropout": True,
                "inference_norm": "batch",
            },
            "training": {"batch_size": 1, "n_epochs": 200},
        },
        "cyclegan": {
            "dataset": {"scale_min": 0.895, "scale_max": 0.895, "flip": True},
            "translator": {**_RESNET, **_REFERENCE, "gan_loss": "least_squares", "lambda_identity": 5.0},
            "training": {"batch_size": 1, "n_epochs": 200},
        },
        "cut": {
            "dataset": {"scale_min": 0.895, "scale_max": 0.895, "flip": True},
            # its code halves the sum of the two NCE terms, the paper's equation does not
            "translator": {
                **_CUT,
                **_REFERENCE,
                "gan_loss": "least_squares",
                "antialias": True,
                "lambda_nce": 0.5,
                "lambda_identity": 0.5,
            },
            "training": {"batch_size": 1, "n_epochs": 400},
        },
    },
    "later": {
        method: {
            "dataset": {"scale_min": 0.8, "scale_max": 1.0},
            "translator": {**base, **_REFERENCE, "gan_loss": "least_squares"},
            "training": {"batch_size": 1},
        }
        for method, base in _NETWORKS.items()
    },
    "toy": {
        "pix2pix": {
            "dataset": _TOY_DATA,
            "translator": {**_UNET, **_TOY, "gan_loss": "vanilla", "unet_depth": 5, "generator_channels": 20},
            "training": {"batch_size": 4},
        },
        "cyclegan": {
            "dataset": _TOY_DATA,
            "translator": {
                **_RESNET,
                **_TOY,
                "gan_loss": "least_squares",
                "generator_channels": 16,
                "generator_blocks": 4,
            },
            "training": {"batch_size": 2},
        },
        "cut": {
            "dataset": _TOY_DATA,
            "translator": {
                **_CUT,
                **_TOY,
                "gan_loss": "least_squares",
                "generator_channels": 16,
                "generator_blocks": 4,
            },
            "training": {"batch_size": 2},
        },
    },
}

_KINDS: Mapping[str, type[TranslationExperiment] | type[RetrievalExperiment]] = {
    "translation": TranslationExperiment,
    "retrieval": RetrievalExperiment,
}


def load_experiment(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Experiment:
    """Read an experiment's YAML, apply ``key=value`` overrides, fill in the preset, check every range.

    ``path`` may be the name of an experiment that comes with d2n, see ``d2n.shipped.find``.
    Raises ConfigError with the file, the line or the knob, what was found and what was expected.
    """
    path = shipped.find("experiments", path)
    return build_experiment(read_yaml(path), overrides, source=str(path))


def build_experiment(
    values: Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any] = (), source: str = "experiment"
) -> Experiment:
    """An experiment from nested values; see load_experiment."""
    nested = _nest_overrides(values, overrides, source)
    kind = nested.get("kind", "translation")
    nested = _with_preset(nested, source) if kind == "translation" else nested
    return _with_checked_names(_validated(_KINDS[kind], nested, source), source)


def _with_checked_names(experiment: Experiment, source: str) -> Experiment:
    """The experiment itself, whose names the registry, the file system and a search can hold."""
    checked_title(experiment.name, f"{source}: name")
    checked_name(experiment.dataset.name, f"{source}: dataset.name")
    if isinstance(experiment, RetrievalExperiment) and experiment.register_as is not None:
        checked_name(experiment.register_as, f"{source}: register_as")
    return experiment


def translator_config(method: str, preset: str = "thesis", **knobs: Any) -> TranslatorConfig:
    """The translator part alone, with a preset's values: for scripts and tests."""
    values = {"preset": preset, "translator": {"method": method, **knobs}}
    return cast(TranslationExperiment, build_experiment(values)).translator


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping; errors name the line and column."""
    values = yaml.read_yaml(path, absent="no such file; `d2n check` lists the experiments and studies here")
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds {type(values).__name__}, expected a mapping of knobs to values")
    return cast(dict[str, Any], values)


def flatten(experiment: Any, prefix: str = "") -> dict[str, Scalar]:
    """Flat params of a (nested) config: ``translator.lr`` → 0.0002. Tuples and mappings become JSON text."""
    flat: dict[str, Scalar] = {}
    for item in dataclasses.fields(experiment):
        key, value = f"{prefix}{item.name}", getattr(experiment, item.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, f"{key}."))
        elif isinstance(value, tuple | list | Mapping):
            flat[key] = json.dumps(
                list(value) if isinstance(value, tuple) else value, sort_keys=True, default=list
            )
        else:
            flat[key] = value
    return flat


def to_dict(experiment: Any) -> dict[str, Any]:
    """The nested values of a config as JSON can hold them; build_experiment reads them back."""
    return cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(experiment), default=dict)))


def knobs(kind: str = "translation") -> list[str]:
    """Every dotted knob name of an experiment kind."""
    return sorted(flatten(_KINDS[kind]()))


def set_knob(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``a.b.c`` in nested mappings, in place."""
    *parents, last = dotted.split(".")
    for part in parents:
        found = values.get(part, {})
        if not isinstance(found, Mapping):
            raise ConfigError(
                f"{dotted} cannot be set: {part} is {brief(found)}, expected a mapping of knobs to values"
            )
        nested = dict(found)
        values[part] = nested
        values = nested
    values[last] = value


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` or nothing."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:
        by_last = {k.rpartition(".")[2]: k for k in known}
        hit = difflib.get_close_matches(name.rpartition(".")[2], list(by_last), n=1, cutoff=0.6)
        close = [by_last[hit[0]]] if hit else []
    return f"; did you mean {close[0]!r}?" if close else ""


def parse_override(text: str) -> tuple[str, Any]:
    """``translator.lr=1e-4`` → ("translator.lr", 0.0001); the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: expected knob=value, as in --set translator.lr=1e-4")
    return key.strip(), yaml.parse_yaml(value, f"--set {brief(text)}: the value is not YAML")


T = TypeVar("T")


def validated(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """A frozen config dataclass from nested values, every unknown knob and range named in one line."""
    return _validated(cls, values, source)


def _validated(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    from pydantic import ValidationError

    _refuse_unknown(cls, values, source)
    for line in odd_values(cls, values):
        raise ConfigError(f"{source}: {line}")
    try:
        return cast(T, _adapter(cast(Any, cls)).validate_python(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(
            f"{source}: {where} is {brief(first['input'])}: {one_line(message, 200)}{more}"
        ) from error


@functools.cache
def _adapter(cls: Any) -> Any:
    """pydantic's validator of a dataclass; making one takes longer than using it."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _refuse_unknown(cls: Any, values: Mapping[str, Any], source: str, prefix: str = "") -> None:
    hints = get_type_hints(cls)
    known = [item.name for item in dataclasses.fields(cls)]
    for key, value in values.items():
        if key not in known:
            names = [f"{prefix}{name}" for name in known]
            raise ConfigError(
                f"{source}: unknown knob {prefix}{one_line(str(key))}{nearest(f'{prefix}{key}'[:100], names)} "
                f"(known here: {', '.join(names)})"
            )
        alternatives = get_args(hints[key]) if get_origin(hints[key]) in (Union, UnionType) else ()
        inner = next((t for t in (hints[key], *alternatives) if dataclasses.is_dataclass(t)), None)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(inner, value, source, f"{prefix}{key}.")


def _nest_overrides(
    values: Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any], source: str
) -> dict[str, Any]:
    nested: dict[str, Any] = json.loads(json.dumps(values, default=str))
    pairs = list(overrides.items() if isinstance(overrides, Mapping) else map(parse_override, overrides))
    kind = dict(pairs).get("kind", nested.get("kind", "translation"))
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(f"{source}: kind is {brief(kind)}, expected translation or retrieval")
    _refuse_no_rooms(kind, nested, source)
    known = knobs(kind)
    for key, value in pairs:
        inside_mapping = key.rpartition(".")[0] in known  # such as dataset.rule.night_threshold
        if key not in known and not inside_mapping:
            raise ConfigError(f"{source}: unknown knob {one_line(key)}{nearest(key[:100], known)}")
        set_knob(nested, key, value)
    return nested


def _refuse_no_rooms(kind: str, values: Mapping[str, Any], source: str) -> None:
    """Before a preset or an override is laid over it: what has knobs of its own must be a mapping."""
    for room, hint in get_type_hints(_KINDS[kind]).items():
        if dataclasses.is_dataclass(hint) and room in values and not isinstance(values[room], Mapping):
            raise ConfigError(
                f"{source}: {room} is {brief(values[room])}, expected a mapping of knobs to values; "
                "leave the line out for the defaults"
            )


def _with_preset(values: dict[str, Any], source: str) -> dict[str, Any]:
    preset = values.get("preset", "thesis")
    if not isinstance(preset, str) or preset not in PRESETS:
        hint = nearest(one_line(str(preset)), PRESETS)
        raise ConfigError(f"{source}: preset is {brief(preset)}, expected one of {', '.join(PRESETS)}{hint}")
    method = values.get("translator", {}).get("method", "cyclegan")
    merged = dict(values)
    for room, defaults in PRESETS[preset].get(str(method), {}).items():
        merged[room] = {**defaults, **values.get(room, {})}
    return merged
