"""Every knob of a retrieval experiment, typed, with its range and default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from d2n.config.knobs import DatasetConfig
from d2n.config.types import STRICT, Device, Name, Seed

Share = Annotated[float, Ge(0), Le(1)]
Scale = Annotated[float, Gt(0), Le(10)]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The retrieval network: a trunk, pooling, L2."""

    __pydantic_config__ = STRICT
    backbone: str = "vgg16"
    """The trunk: toy, or a torchvision name such as vgg16 or squeezenet1_0."""
    weights: str | None = None
    """File of weights, or a registered MODEL@ALIAS to go on from; null: torchvision's own trunk; none: untrained."""
    input: Literal["imagenet", "caffe", "tf"] = "imagenet"
    """How RGB is normalised; caffe and tf for weights that were trained so."""
    mean: tuple[Share, Share, Share] | None = None
    """Mean of RGB in [0, 1] that is taken off; null: that of input, or of the weights file where it tells."""
    std: tuple[Scale, Scale, Scale] | None = None
    """Deviation of RGB that it is divided by; null: that of input, or of the weights file where it tells."""
    light: Literal["none", "clahe", "gamma", "photometric"] = "none"
    """How every image's light is evened out first: CLAHE, a gamma to a mean lightness, a published network, or not."""
    light_weights: str | None = None
    """photometric: file of the photometric normalisation network, as mdir writes it, or a registered MODEL@ALIAS."""
    clahe_clip_limit: Annotated[float, Gt(0), Le(1000)] = 1.0
    """clahe: times the mean count that a level may have in a tile."""
    clahe_grid: Annotated[int, Ge(1), Le(256)] = 8
    """clahe: tiles a side."""
    gamma_target: Annotated[float, Gt(0), Lt(1)] = 0.5
    """gamma: mean lightness that every image gets, 0 black and 1 white."""
    pooling: Literal["gem", "mac", "spoc", "rmac", "mixvpr"] = "gem"
    """From maps to a vector: gem, their maxima (mac), means (spoc), regional maxima (rmac), mixed features (mixvpr)."""
    mix_side: Annotated[int, Ge(1), Le(256)] = 20
    """mixvpr: side of the maps that it mixes; others are brought to it."""
    mix_depth: Annotated[int, Ge(1), Le(64)] = 4
    """mixvpr: layers."""
    mix_outputs: Annotated[int, Ge(1), Le(65536)] = 1024
    """mixvpr: channels after it; the descriptor has them in each of mix_rows rows."""
    mix_rows: Annotated[int, Ge(1), Le(256)] = 4
    """mixvpr: rows after it."""
    gem_p: Annotated[float, Gt(0), Le(1000)] = 3.0
    """Exponent of GeM pooling at the start; it is learned."""
    gem_per_channel: bool = False
    """One exponent a channel in place of one for all."""


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """Scene classification before the contrastive fine-tuning, for networks without ImageNet weights."""

    __pydantic_config__ = STRICT
    n_epochs: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """Epochs as a classifier of scenes before the contrastive training; 0: none."""
    batch_size: Annotated[int, Ge(2), Le(65536)] = 64
    """Images a step."""
    lr: Annotated[float, Gt(0), Lt(10)] = 1e-3
    """Adam's learning rate."""


@dataclass(frozen=True, kw_only=True)
class RetrievalTrainingConfig:
    """Contrastive fine-tuning with hard negatives; defaults are the thesis's."""

    __pydantic_config__ = STRICT
    n_epochs: Annotated[int, Ge(0), Le(1_000_000)] = 40
    """Epochs of contrastive fine-tuning; 0: the network is measured as it is."""
    num_queries: Annotated[int, Ge(1), Le(100_000_000)] = 2000
    """Tuples an epoch: a query, its positive and its negatives."""
    pool_size: Annotated[int, Ge(1), Le(100_000_000)] = 20000
    """Images that hard negatives are mined from, drawn anew each epoch."""
    anchors: Literal["random", "diverse"] = "random"
    """Whose pairs an epoch trains on: any, or those of queries that are unlike each other (Mohwald et al. 2023)."""
    anchor_pool_size: Annotated[int, Ge(1), Le(100_000_000)] = 10000
    """diverse: pairs that an epoch's are chosen among, drawn anew each epoch."""
    anchor_exclude: Annotated[float, Ge(0), Lt(1)] = 0.2
    """diverse: share of the pool that is most similar to what was chosen, and out of the question."""
    anchor_include: Annotated[float, Gt(0), Le(1)] = 0.8
    """diverse: the next one is drawn from that share of the most similar, but for those excluded."""
    num_negatives: Annotated[int, Ge(1), Le(1000)] = 5
    """Hard negatives a tuple."""
    tuples_per_step: Annotated[int, Ge(1), Le(4096)] = 5
    """Tuples whose gradients make one step."""
    image_size_px: Annotated[int, Ge(8), Le(8192)] = 362
    """Longer side of the training images."""
    loss: Literal["contrastive", "multi_similarity"] = "contrastive"
    """Of a tuple: contrastive, or multi-similarity (Wang et al. 2019)."""
    margin: Annotated[float, Gt(0), Le(100)] = 0.75
    """contrastive: distance beyond which a negative costs nothing."""
    ms_alpha: Annotated[float, Gt(0), Le(1000)] = 2.0
    """multi_similarity: sharpness of the positives' part."""
    ms_beta: Annotated[float, Gt(0), Le(1000)] = 50.0
    """multi_similarity: sharpness of the negatives' part."""
    ms_base: Annotated[float, Ge(-1), Le(1)] = 0.5
    """multi_similarity: similarity at which a pair begins to count."""
    lr: Annotated[float, Gt(0), Lt(10)] = 5e-7
    """Adam's learning rate."""
    weight_decay: Annotated[float, Ge(0), Le(100)] = 5e-4
    """Weight decay."""
    lr_schedule: Literal["exponential", "cosine"] = "exponential"
    """How the learning rate falls: by a factor an epoch, or along a cosine a step at a time."""
    lr_end: Share = 0.0
    """cosine: where the learning rate ends, as a share of lr; above 0 for a mean over the last epochs."""
    lr_gamma: Annotated[float, Gt(0), Le(1)] = 0.99
    """exponential: factor of the learning rate an epoch."""
    average_last: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """The network is the mean of its weights after each of the last so many epochs; 0 or 1: of the last alone."""
    patience: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """Validations without a better mAP after which a seed's training ends, with its best weights; 0: to the end."""
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
    log_system: bool = True
    """Log CPU, memory, GPU and energy (where it can be read) every half minute."""
    tracking_wait_s: Annotated[float, Ge(0), Le(3600)] = 10.0
    """Longest wait of a step for the tracking server; then what is logged is kept on disk and sent later."""
    tracking_patience_s: Annotated[float, Ge(0), Le(1_000_000)] = 300.0
    """Longest wait for it where the run needs it: at its end, or when spool_mb is full."""
    spool_mb: Annotated[int, Ge(1), Le(1_000_000)] = 1024
    """What may wait on disk for a tracking server that is away; beyond it the training waits, then ends."""


@dataclass(frozen=True, kw_only=True)
class NightConfig:
    """Night augmentation of training images, thesis 3.4."""

    __pydantic_config__ = STRICT
    augmentation: Literal["none", "generator", "photometric", "clahe", "oracle"] = "none"
    """What some training images become: a generator's night, darker (photometric), CLAHE, or their true night."""
    generator: str | None = None
    """Which generator: models:/NAME@ALIAS, a run id, or a folder of `d2n pull`; of champion: each seed another."""
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

    __pydantic_config__ = STRICT
    benchmarks: tuple[str, ...] = ("toycity",)
    """What mAP is measured on: toycity, tokyo247, roxford5k, rparis6k, svox, msls, nordland, or a prepared folder."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """Folder of each benchmark that is not in data/<name>."""
    split: Literal["val", "test"] = "test"
    """Which images the benchmark takes, where it has splits."""
    validate_every_epochs: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """Epochs between the mAPs of validation queries on the way; 0: none."""
    measure_every_epochs: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """Epochs between measures on the way, by which a study prunes; 0: at the end alone."""
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
    """A night-to-day generator that queries go through, but for those by day; null: none."""
    turn: bool | None = None
    """Turn images as their EXIF says; null: not those of published benchmarks, whose boxes are in unturned pixels."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Number format of the description; bf16 (and its memory layout) is faster where the processor has it."""


@dataclass(frozen=True, kw_only=True)
class RetrievalExperiment:
    """Fine-tune a retrieval network, with or without night augmentation, and measure mAP."""

    __pydantic_config__ = STRICT
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
