"""The knobs that every GAN method has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from d2n.config.types import STRICT, Weight


@dataclass(frozen=True, kw_only=True)
class TranslatorConfig:
    """What the GANs share: networks, adversarial loss, optimiser. Each method's class adds its own knobs.

    Defaults are the thesis's CycleGAN.
    """

    __pydantic_config__ = STRICT
    method: str
    """The method: pix2pix and photometric learn from pairs; combogan, stargan and todaygan take many domains."""
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
    spectral_norm: bool = False
    """Divide each weight of the discriminators by its largest singular value, so that none is too sure."""
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
    lambda_edge: Weight = 0.0
    """Weight of the difference of edges between day and fake night."""
    lambda_luminance: Weight = 0.0
    """Weight of the share of contrast that fake night turns upside down, against inverted images."""
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
    discriminator_lr: Annotated[float, Gt(0), Lt(10)] | None = None
    """Adam's learning rate of the discriminators (TTUR, Heusel et al. 2017); null: lr."""
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
    accumulate: Annotated[int, Ge(1), Le(4096)] = 1
    """Parts of a batch that go one by one, their gradients summed: less memory; the same step but for batch norm."""
    recompute: bool = False
    """Forget a generator's activations and compute them again for the gradients: less memory, a longer step."""
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Decay of the moving average of the generator's weights, which is what is scored; 0: off."""
