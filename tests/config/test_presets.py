"""Every value that a preset of a published method sets, with the place where it was published.

Sources, by their short names below:
thesis: A. Möhwald, Data Augmentation by Image-to-Image Translation for Image Retrieval, 2020
isola, zhu, park: the papers of pix2pix (2017), CycleGAN (2017), CUT (2020)
p2p: options of github.com/junyanz/pytorch-CycleGAN-and-pix2pix
cut: options of github.com/taesungp/contrastive-unpaired-translation
gandtr: files of github.com/mohwald/gandtr, mdir/examples/iccv23/parameters, of Mohwald, Jenicek and Chum 2023
combo, today, star: options and models of github.com/AAnoosheh/ComboGAN, AAnoosheh/ToDayGAN and yunjey/stargan, of
  Anoosheh et al. 2018 and 2019 and Choi et al. 2018
dark: Jenicek and Chum, No Fear of the Dark, 2019
house: no publication says it
"""

from __future__ import annotations

from typing import Any

import pytest

from d2n.config import METHODS, TranslationExperiment, build_experiment, flatten

Listed = dict[str, tuple[Any, str]]

_THESIS_OPTIMISER: Listed = {
    "translator.lr": (2e-4, "thesis 3.2.1"),
    "translator.beta1": (0.9, "thesis 3.2.1"),
    "translator.lr_schedule": ("constant", "thesis 3.2.1"),
    "translator.gan_loss": ("vanilla", "thesis 3.2.1, the non-saturating loss"),
    "training.batch_size": (5, "thesis 3.2.1"),
}
_P2P: Listed = {
    "translator.lr": (2e-4, "p2p train_options.py --lr"),
    "translator.beta1": (0.5, "p2p train_options.py --beta1"),
    "translator.lr_schedule": ("linear", "p2p train_options.py --lr_policy"),
    "dataset.scale_min": (0.895, "p2p base_options.py --load_size 286, --crop_size 256: 256 / 286"),
    "dataset.scale_max": (0.895, "p2p base_options.py --load_size 286, --crop_size 256: 256 / 286"),
    "dataset.flip": (True, "p2p base_options.py --no_flip is off"),
    "training.batch_size": (1, "p2p base_options.py --batch_size"),
    "training.n_epochs": (200, "p2p train_options.py --n_epochs 100 and --n_epochs_decay 100"),
}
_GANDTR: Listed = {
    "translator.lr": (2e-4, "gandtr train_*.yml learning.training.optimizer"),
    "translator.beta1": (0.5, "gandtr train_*.yml learning.training.optimizer"),
    "translator.lr_schedule": ("linear", "gandtr train_*.yml scheduler lambda_p2p, the second half"),
    "translator.gan_loss": ("least_squares", "gandtr train_*.yml criterion mse"),
    "dataset.scale_min": (0.8, "gandtr _gan_data.yml scalecrop:256_256:0.8_1"),
    "dataset.scale_max": (1.0, "gandtr _gan_data.yml scalecrop:256_256:0.8_1"),
}


def _unet(source: str) -> Listed:
    knobs = {"generator": "unet", "generator_norm": "batch", "discriminator_norm": "batch", "pool_size": 0}
    return {f"translator.{knob}": (value, source) for knob, value in knobs.items()}


def _resnet(source: str, norm: str = "instance") -> Listed:
    knobs = {"generator": "resnet", "generator_norm": norm, "discriminator_norm": norm}
    return {f"translator.{knob}": (value, source) for knob, value in knobs.items()}


def _cut(source: str, nce: float, identity: float, weights: str) -> Listed:
    return {
        **_resnet(source),
        "translator.pool_size": (0, "cut cut_model.py: no pool"),
        "translator.lambda_nce": (nce, weights),
        "translator.lambda_identity": (identity, weights),
    }


def _hedngan(steps: bool) -> Listed:
    file = "gandtr train_hedngan.yml"
    return {
        **_GANDTR,
        **_resnet(f"{file} network", "batch"),
        "translator.pool_size": (0, "gandtr edges_epochs.py: no pool"),
        "translator.lambda_edge": (5.0, f"{file} criterion.weights.edge"),
        "translator.lambda_student": (1.0, f"{file} criterion.weights.hed"),
        "translator.student_lr": (1e-6, f"{file} optimizer.detector"),
        "translator.student_weight_decay": (2e-4, f"{file} optimizer.detector"),
        "translator.edges": ("hed", f"{file} network.detector"),
        "training.batch_size": (10, "gandtr train/hedngan.yml data.train.loader"),
        "training.n_epochs": (50, f"{file} learning.training.epochs"),
        **({"training.steps_per_epoch": (1000, "gandtr _gan_data.yml size 10000, by 10")} if steps else {}),
    }


def _combogan(code: str, norms: str, form: str = "resnet", layers: int = 3) -> Listed:
    """Options that ComboGAN's and ToDayGAN's public codes share."""
    return {
        **_resnet(norms),
        "translator.generator": (
            form,
            f"{code} networks.py ResnetGenEncoder" if form != "resnet" else "combo paper",
        ),
        "translator.discriminator_layers": (
            layers,
            f"{code} base_options.py --netD_n_layers 4; the paper CycleGAN's",
        ),
        "translator.lr": (2e-4, f"{code} train_options.py --lr"),
        "translator.beta1": (0.5, f"{code} train_options.py --beta1"),
        "translator.lr_schedule": ("linear", f"{code} combogan_model.py update_hyperparams, the second half"),
        "translator.gan_loss": ("least_squares", f"{code} GANLoss; --no_lsgan is off"),
        "translator.lambda_cycle": (10.0, f"{code} train_options.py --lambda_cycle"),
        "translator.lambda_identity": (0.0, f"{code} train_options.py --lambda_identity"),
        "translator.lambda_latent": (0.0, f"{code} train_options.py --lambda_latent"),
        "translator.lambda_forward": (0.0, f"{code} train_options.py --lambda_forward"),
        "translator.pool_size": (50, f"{code} train_options.py --pool_size"),
        "translator.dropout": (False, f"{code} base_options.py --use_dropout is off"),
        "dataset.flip": (True, f"{code} base_options.py --no_flip is off"),
        "training.batch_size": (1, f"{code} base_options.py --batchSize"),
    }


_COMBO_CROP: Listed = {
    "dataset.scale_min": (0.895, "combo base_options.py --loadSize 286, --fineSize 256: 256 / 286"),
    "dataset.scale_max": (0.895, "combo base_options.py --loadSize 286, --fineSize 256: 256 / 286"),
    "training.n_epochs": (400, "combo scripts/train_combogan.sh --niter 200 --niter_decay 200, four domains"),
}
_TODAY: Listed = {
    **_combogan("today", "today base_options.py --norm instance", "resnet_prelu", 4),
    "dataset.image_size_px": (384, "today scripts/train_combogan.sh --fineSize 384"),
    "dataset.scale_min": (0.75, "today scripts/train_combogan.sh --fineSize 384 of --loadSize 512"),
    "dataset.scale_max": (0.75, "today scripts/train_combogan.sh --fineSize 384 of --loadSize 512"),
    "training.n_epochs": (150, "today scripts/train_combogan.sh --niter 75 --niter_decay 75"),
}
_STAR_NETS: Listed = {
    "translator.generator_blocks": (6, "star main.py --g_repeat_num"),
    "translator.discriminator_layers": (6, "star main.py --d_repeat_num"),
    "translator.class_kernel": (2, "star model.py: image size / 2^d_repeat_num"),
    "translator.lambda_class": (1.0, "star main.py --lambda_cls"),
    "translator.lambda_cycle": (10.0, "star main.py --lambda_rec"),
    "translator.lambda_penalty": (10.0, "star main.py --lambda_gp"),
    "translator.n_critic": (5, "star main.py --n_critic"),
    "translator.lr": (1e-4, "star main.py --g_lr, --d_lr"),
    "translator.lr_schedule": ("linear", "star main.py --num_iters_decay 100000, the second half"),
    "translator.pool_size": (0, "star solver.py: no pool"),
}
_STAR: Listed = {
    **_STAR_NETS,
    "translator.beta1": (0.5, "star main.py --beta1"),
    "dataset.image_size_px": (128, "star main.py --image_size"),
    "dataset.scale_min": (1.0, "star data_loader.py: the whole face, 178 px, resized"),
    "dataset.scale_max": (1.0, "star data_loader.py: the whole face, 178 px, resized"),
    "dataset.flip": (True, "star data_loader.py RandomHorizontalFlip"),
    "training.batch_size": (16, "star main.py --batch_size"),
    "training.n_epochs": (20, "star paper, training on CelebA: 10 epochs and 10"),
}


_LIGHT: Listed = {
    "dataset.source": ("night", "dark paper: night is given the light of day"),
    "dataset.target": ("day", "dark paper: night is given the light of day"),
    "translator.generator": ("mdir_unet", "gandtr unet.py P2pUNet"),
    "translator.generator_norm": ("batch", "gandtr unet.py P2pUNet"),
    "translator.pool_size": (0, "house: no discriminator"),
}
PUBLISHED: dict[tuple[str, str], Listed] = {
    ("pix2pix", "thesis"): {
        **_THESIS_OPTIMISER,
        **_unet("thesis 3.2.2, as isola 6.1"),
        "translator.lambda_l1": (100.0, "thesis 3.2.1"),
        "translator.dropout": (True, "thesis 3.2.2, on and off; 5: on for the best"),
    },
    ("pix2pix", "reference"): {
        **_P2P,
        **_unet("p2p pix2pix_model.py modify_commandline_options"),
        "translator.gan_loss": ("vanilla", "p2p pix2pix_model.py gan_mode"),
        "translator.lambda_l1": (100.0, "p2p pix2pix_model.py --lambda_L1"),
        "translator.dropout": (True, "p2p base_options.py --no_dropout is off"),
        "translator.inference_norm": ("batch", "p2p pix2pix_model.py: tests in train mode unless --eval"),
    },
    ("pix2pix", "later"): {
        **_GANDTR,
        **_unet("isola 6.1"),
        "translator.lambda_l1": (100.0, "isola 3.3"),
        "training.batch_size": (1, "gandtr _gan_data.yml loader; it has no pix2pix"),
    },
    ("pix2pix", "published"): {
        **_P2P,
        **_unet("isola 6.1"),
        "translator.lr": (2e-4, "isola 3.3"),
        "translator.beta1": (0.5, "isola 3.3"),
        "translator.lr_schedule": ("constant", "isola 3.3 and 6.2 name no decay"),
        "translator.gan_loss": ("vanilla", "isola equation 1, 3.3 log D"),
        "translator.lambda_l1": (100.0, "isola equation 4 and 4.1"),
        "translator.dropout": (True, "isola 3.1, 6.1.1"),
        "translator.inference_norm": ("batch", "isola 3.3: test-time batch statistics"),
        "dataset.flip": (True, "isola 6.2, mirroring"),
        "training.batch_size": (4, "isola 6.2, day to night"),
        "training.n_epochs": (17, "isola 6.2, day to night"),
    },
    ("cyclegan", "thesis"): {
        **_THESIS_OPTIMISER,
        **_resnet("thesis 3.2.3"),
        "translator.lambda_cycle": (10.0, "thesis 3.2.1"),
        "translator.lambda_identity": (0.0, "thesis equation 2.9 has none"),
        "translator.pool_size": (50, "zhu 4, whose training the thesis follows (3.2)"),
    },
    ("cyclegan", "reference"): {
        **_P2P,
        **_resnet("p2p base_options.py --netG resnet_9blocks --norm instance"),
        "translator.gan_loss": ("least_squares", "p2p train_options.py --gan_mode"),
        "translator.lambda_cycle": (10.0, "p2p cycle_gan_model.py --lambda_A, --lambda_B"),
        "translator.lambda_identity": (5.0, "p2p cycle_gan_model.py --lambda_identity 0.5, times 10"),
        "translator.pool_size": (50, "p2p train_options.py --pool_size"),
        "translator.dropout": (False, "p2p cycle_gan_model.py no_dropout=True"),
    },
    ("cyclegan", "later"): {
        **_GANDTR,
        **_resnet("gandtr train_cyclegan.yml network"),
        "translator.lambda_cycle": (10.0, "gandtr train_cyclegan.yml criterion.weights.cycle"),
        "translator.lambda_identity": (0.0, "gandtr train_cyclegan.yml has none"),
        "translator.pool_size": (50, "gandtr train_cyclegan.yml pool_size"),
        "training.batch_size": (1, "gandtr _gan_data.yml loader"),
        "training.n_epochs": (100, "gandtr train_cyclegan.yml learning.training.epochs"),
    },
    ("cyclegan", "published"): {
        **_P2P,
        **_resnet("zhu 7.2"),
        "translator.lr": (2e-4, "zhu 4, training details"),
        "translator.lr_schedule": ("linear", "zhu 7.1: to zero over the next 100 epochs"),
        "translator.gan_loss": ("least_squares", "zhu 4, training details"),
        "translator.lambda_cycle": (10.0, "zhu 4, training details"),
        "translator.lambda_identity": (0.0, "zhu 5.2: for paintings to photographs alone"),
        "translator.pool_size": (50, "zhu 4, training details"),
        "training.batch_size": (1, "zhu 4, training details"),
        "training.n_epochs": (200, "zhu 7.1: 100 and 100"),
    },
    ("cut", "thesis"): {**_THESIS_OPTIMISER, **_cut("park 4", 1.0, 1.0, "park equation 5")},
    ("cut", "reference"): {
        **_P2P,
        **_cut("cut base_options.py --netG resnet_9blocks --normG instance", 0.5, 0.5, "cut cut_model.py * 0.5"),
        "translator.gan_loss": ("least_squares", "cut base_options.py --gan_mode"),
        "translator.antialias": (True, "cut base_options.py --no_antialias is off"),
        "training.n_epochs": (400, "cut train_options.py --n_epochs 200 and --n_epochs_decay 200"),
    },
    ("cut", "later"): {
        **_GANDTR,
        **_cut("gandtr train_cut.yml", 0.5, 5.0, "gandtr train_cut.yml nce 1, identity 10; cut_epochs.py * 0.5"),
        "training.batch_size": (1, "gandtr _gan_data.yml loader"),
        "training.n_epochs": (50, "gandtr train_cut.yml learning.training.epochs"),
    },
    ("cut", "published"): {
        **_P2P,
        **_cut("park, appendix on training", 1.0, 1.0, "park equation 5: lambda_X = lambda_Y = 1"),
        "translator.gan_loss": ("least_squares", "park, appendix on training: LSGAN"),
        "translator.antialias": (True, "cut base_options.py --no_antialias is off"),
        "training.n_epochs": (400, "cut train_options.py --n_epochs 200 and --n_epochs_decay 200"),
    },
    ("hedngan", "thesis"): {
        **_THESIS_OPTIMISER,
        **_resnet("house"),
        "translator.pool_size": (0, "gandtr edges_epochs.py: no pool"),
        "translator.lambda_edge": (5.0, "gandtr train_hedngan.yml criterion.weights.edge"),
    },
    ("hedngan", "reference"): _hedngan(steps=True),
    ("hedngan", "later"): _hedngan(steps=False),
    ("hedngan", "published"): _hedngan(steps=True),
    ("combogan", "thesis"): {**_THESIS_OPTIMISER, **_resnet("house, as its CycleGAN")},
    ("combogan", "reference"): {
        **_combogan("combo", "combo base_options.py --norm instance", "resnet_prelu", 4),
        **_COMBO_CROP,
    },
    ("combogan", "later"): {
        **_GANDTR,
        **_resnet("gandtr train_cyclegan.yml network; it has no ComboGAN"),
        "training.batch_size": (1, "gandtr _gan_data.yml loader"),
    },
    ("combogan", "published"): {**_combogan("combo", "combo paper: CycleGAN's networks"), **_COMBO_CROP},
    ("todaygan", "thesis"): {**_THESIS_OPTIMISER, **_resnet("house, as its CycleGAN")},
    ("todaygan", "reference"): _TODAY,
    ("todaygan", "later"): {
        **_GANDTR,
        **_resnet("gandtr train_cyclegan.yml network; it has no ToDayGAN"),
        "training.batch_size": (1, "gandtr _gan_data.yml loader"),
    },
    ("todaygan", "published"): _TODAY,
    ("photometric", "thesis"): {**_THESIS_OPTIMISER, **_LIGHT},
    ("photometric", "reference"): {**_P2P, **_LIGHT},  # house: how it was trained is in no public code
    ("photometric", "later"): {
        **_GANDTR,
        **_LIGHT,
        "training.batch_size": (1, "gandtr _gan_data.yml loader; it trains no U-Net"),
    },
    ("photometric", "published"): {**_P2P, **_LIGHT},
    ("stargan", "thesis"): {
        **_STAR_NETS,
        "translator.beta1": (0.9, "thesis 3.2.1"),
        "training.batch_size": (5, "thesis 3.2.1"),
    },
    ("stargan", "reference"): {
        **_STAR,
        "training.steps_per_epoch": (10_000, "star main.py --num_iters 200000, by 20"),
    },
    ("stargan", "later"): _STAR,
    ("stargan", "published"): _STAR,
}  # fmt: skip
# Where a method's networks or images are not those of test_what_all_of_them_share.
ITS_OWN: dict[str, dict[str, Any]] = {
    "stargan": {"translator.generator_blocks": 6, "translator.discriminator_layers": 6},
    "todaygan": {"translator.discriminator_layers": 4},
}
ITS_OWN_PRESET: dict[tuple[str, str], dict[str, Any]] = {
    ("combogan", "reference"): {"translator.discriminator_layers": 4},
    **{("stargan", preset): {"dataset.image_size_px": 128} for preset in ("reference", "later", "published")},
    **{("todaygan", preset): {"dataset.image_size_px": 384} for preset in ("reference", "published")},
}


def resolved(method: str, preset: str) -> dict[str, Any]:
    experiment = build_experiment({"preset": preset, "translator": {"method": method}})
    assert isinstance(experiment, TranslationExperiment)
    return flatten(experiment)


@pytest.mark.parametrize(("method", "preset"), PUBLISHED)
def test_each_value_is_the_published_one(method: str, preset: str) -> None:
    found = resolved(method, preset)
    wrong = {
        knob: (found[knob], f"expected {value!r}, {source}")
        for knob, (value, source) in PUBLISHED[method, preset].items()
        if found[knob] != value
    }
    assert not wrong


@pytest.mark.parametrize(("method", "preset"), PUBLISHED)
def test_nothing_that_a_preset_sets_is_without_a_source(method: str, preset: str) -> None:
    rooms = METHODS[method].presets[preset]
    said = {f"{room}.{knob}" for room, knobs in rooms.items() for knob in knobs}
    assert said - set(PUBLISHED[method, preset]) == set()
    assert all(source for _, source in PUBLISHED[method, preset].values())


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_but_the_houses_own_is_listed(method: str) -> None:
    listed = {preset for name, preset in PUBLISHED if name == method}
    assert set(METHODS[method].presets) - {"toy"} == listed


@pytest.mark.parametrize(("method", "preset"), PUBLISHED)
def test_what_all_of_them_share(method: str, preset: str) -> None:
    """256 px crops, 64 channels, 9 blocks or 8 levels, PatchGAN of 70 px, N(0, 0.02), beta2 of 0.999."""
    found = resolved(method, preset)
    shared = {
        "dataset.image_size_px": 256,
        "translator.generator_channels": 64,
        "translator.generator_blocks": 9,
        "translator.unet_depth": 8,
        "translator.discriminator_channels": 64,
        "translator.discriminator_layers": 3,
        "translator.init_gain": 0.02,
        "translator.beta2": 0.999,
        "translator.lr_decay_start": 0.5,
        "translator.normalize_loss_weights": False,
        "translator.upsampling": "transposed",
        "translator.late_input": False,
        "translator.ema_decay": 0.0,
        "translator.lambda_history": 0.0,
        "translator.lambda_luminance": 0.0,
        "translator.spectral_norm": False,
        "translator.discriminator_lr": None,
    }
    shared |= ITS_OWN.get(method, {}) | ITS_OWN_PRESET.get((method, preset), {})
    assert {knob: found[knob] for knob in shared} == shared
