"""What the GANs share: optimisers, precision, seeds, state. The steps are their own."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from d2n.config import TranslatorConfig
from d2n.core import Compute
from d2n.devices import taken_for_training
from d2n.errors import ConfigError, ShapeError
from d2n.translators import coarse, distributed, losses
from d2n.translators.adam import Adam
from d2n.translators.diffaugment import diffaugment
from d2n.translators.ema import start_ema, update_ema
from d2n.translators.meter import LossMeter
from d2n.translators.pool import ImagePool
from d2n.translators.recorded import RecordedStep, is_recordable
from d2n.translators.schedules import lr_factor
from d2n.translators.seeds import derived_seed
from d2n.translators.state import load_state, snapshot
from d2n.translators.translate import translate_batch

Player = Literal["generator", "discriminator", "student"]
DAY_TO_NIGHT = ("day", "night")


class Gan(ABC):
    """A GAN from one domain to another, day to night unless it is told others.

    One Adam trains all generators, one all discriminators.

    Every step is a pure function of the state, the batch and (seed, step): dropout, DiffAugment and patches
    draw from streams seeded anew in each step, so that a resumed run continues to the bit.
    """

    product: ClassVar[str]  # the network that translates day to night (source to target)
    players: Mapping[Player, tuple[str, ...]]  # which networks each optimiser trains
    pooled: tuple[str, ...]  # domains whose fakes go through an image pool
    has_one_path: ClassVar[bool] = False  # each step does the same, whatever its number and its draws

    def __init__(
        self,
        config: TranslatorConfig,
        *,
        total_steps: int,
        seed: int = 0,
        compute: Compute = Compute(),  # noqa: B008 - frozen
        domains: Sequence[str] = DAY_TO_NIGHT,
    ) -> None:
        self.domains = tuple(domains)  # from the first to the second
        self.config, self.seed, self.total_steps = config, seed, total_steps
        self.device, self.precision = taken_for_training(torch.device(compute.device)), compute.precision
        self.memory_format = torch.channels_last if compute.channels_last else torch.contiguous_format
        self.steps_done = self.part = 0
        self.networks = {name: self._placed(net) for name, net in self._make_networks().items()}
        self.ema = start_ema(self.trained_generator) if config.ema_decay else None
        if compute.compile:
            for network in self.networks.values():
                network.compile(dynamic=False)  # torch 2.14 fails on the U-Net where sizes are symbols
        self.trained = {
            name: distributed.data_parallel(net, self.device) for name, net in self.networks.items()
        }
        playing = [player for player in self.players if self._of(player)]
        self.optimizers = {player: self._adam(player) for player in playing}
        self.pools = {
            domain: ImagePool(config.pool_size, derived_seed(seed, "pool", domain, distributed.rank()))
            for domain in self.pooled
        }
        self.histories = {player: losses.HistoricalAverage(self._of(player)) for player in playing}
        self.interval_losses, self.epoch_losses = LossMeter(), LossMeter()
        self.weights = losses.loss_weights(self._loss_weights(), config.normalize_loss_weights)
        records = compute.cuda_graphs and is_recordable(self)
        self.recorded = RecordedStep(self.pools, self.device) if records else None

    def step(self, *images: Mapping[str, Tensor] | Tensor, **by_domain: Tensor) -> dict[str, Tensor]:
        """One optimisation step on images (B, 3, H, W) in [-1, 1]; detached scalar losses, not yet fetched.

        ``step(batch)`` takes a mapping of domain to tensor; ``step(day, night)`` the tensors in the order of
        ``domains``, ``step(day=…, night=…)`` by name.

        Keys: ``g`` and ``d`` are what the two optimisers minimise; ``g_*`` the generators' terms before
        weighting, ``d_real`` and ``d_fake`` the discriminators', ``d_accuracy`` the share of patches judged
        right.
        """
        self._set_learning_rates()
        moved = {domain: self._moved(x) for domain, x in self._named(images, by_domain).items()}
        with self._step_randomness():
            if self.recorded is not None:
                values = self.recorded(moved, self._step_on, self._seed_of)
            else:
                values = self._step_on(moved)
        if self.ema is not None:
            update_ema(self.ema, self.trained_generator, self.config.ema_decay, self.steps_done)
        self.steps_done += 1
        detached = {name: value.detach() for name, value in values.items()}
        self.interval_losses.add(detached)
        self.epoch_losses.add(detached)
        return detached

    @property
    def generator(self) -> nn.Module:
        """The generator used at inference, day to night: its moving average where there is one."""
        return self.ema if self.ema is not None else self.trained_generator

    @property
    def trained_generator(self) -> nn.Module:
        """The generator from the first domain to the second as it trains, without the average."""
        return self.networks[self.product]

    def way_back(self) -> nn.Module | None:
        """The generator from the second domain to the first as it trains; None where the method learns none."""
        return None

    @property
    def stride(self) -> int:
        """What image sides must divide by; ``translate`` pads to it."""
        return cast(int, self.generator.stride)

    def translate(self, day: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], any size, to fake night of the same shape; float32, in eval mode."""
        with self.autocast():
            return translate_batch(self.generator, self._moved(day), self.stride).float()

    def samples(self, day: Tensor) -> dict[str, Tensor]:
        """The columns of a sample sheet: day, fake night (and the day again, where there is a way back)."""
        return {"day": day, "fake_night": self.translate(day)}

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, copied to the CPU; every process of a distributed run calls it."""
        return {
            "method": self.config.method,
            "domains": list(self.domains),
            "steps_done": self.steps_done,
            "networks": {name: snapshot(net.state_dict()) for name, net in self.networks.items()},
            "optimizers": {name: snapshot(opt.state_dict()) for name, opt in self.optimizers.items()},
            "ema": None if self.ema is None else snapshot(self.ema.state_dict()),
            "histories": {name: snapshot(h.state()) for name, h in self._used_histories().items()},
            "processes": distributed.gather(
                {
                    "pools": {domain: snapshot(pool.state()) for domain, pool in self.pools.items()},
                    "interval_losses": snapshot(self.interval_losses.state()),
                    "epoch_losses": snapshot(self.epoch_losses.state()),
                }
            ),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``; CheckpointError names the differing keys of another architecture."""
        load_state(self, state)

    @abstractmethod
    def _make_networks(self) -> dict[str, nn.Module]: ...

    @abstractmethod
    def _loss_weights(self) -> dict[str, float]:
        """The weight of every generator term that is on, before normalization."""

    @abstractmethod
    def _step_on(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The step; ``images`` are in the order of ``domains``."""

    def _judge_domain(self, domain: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """A domain's discriminator on real images and on fakes through its pool: its losses and its accuracy."""
        judge = self.trained[f"discriminator_{domain}"]
        pooled = self.pools[domain].query(fake)
        with self.autocast():
            on_real = judge(self._augmented(real, f"d_real_{domain}"))
            on_fake = judge(self._augmented(pooled, f"d_fake_{domain}"))
        d_real, d_fake = losses.discriminator_loss(on_real, on_fake, self.config.gan_loss)
        accuracy = losses.discriminator_accuracy(on_real, on_fake, self.config.gan_loss)
        return {"d": (d_real + d_fake) / 2, "d_real": d_real, "d_fake": d_fake, "d_accuracy": accuracy}

    def _named(
        self, given: Sequence[Mapping[str, Tensor] | Tensor], by_domain: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What ``step`` was given, by domain in the order of ``domains``."""
        found: dict[str, Tensor] = dict(by_domain)
        tensors = iter(self.domains)
        for images in given:
            found |= images if isinstance(images, Mapping) else {next(tensors, "one more"): images}
        if found.keys() != set(self.domains):
            raise ShapeError(f"a step on {', '.join(found) or 'nothing'}, expected {', '.join(self.domains)}")
        return {domain: found[domain] for domain in self.domains}

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 for the networks where asked for. No optimiser step inside: it caches the cast weights."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def random(self, *purpose: str) -> torch.Generator:
        """A stream for one purpose in the present step, and this process."""
        if self.recorded is not None:
            return self.recorded.stream(purpose, self._seed_of(purpose))
        return torch.Generator(self.device).manual_seed(self._seed_of(purpose))

    def _seed_of(self, purpose: tuple[str, ...]) -> int:
        return derived_seed(self.seed, "step", self.steps_done, distributed.rank(), *purpose)

    def draw(self, purpose: str, images: Tensor, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """A draw for each image of the global batch, of which ``images`` are this process's; theirs come back.

        ``draw`` takes a count and a stream. One process draws the same for an image as several do.
        """
        count, n = len(images), distributed.world_size()
        seed = derived_seed(self.seed, "step", self.steps_done, purpose)
        drawn = draw(count * n, torch.Generator(self.device).manual_seed(seed))
        return drawn[distributed.rank() * count :][:count]

    def _initial(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self.seed, "weights", name))

    def _augmented(self, images: Tensor, purpose: str) -> Tensor:
        if not self.config.diffaugment:
            return images
        part = (str(self.part),) if self.part else ()
        return diffaugment(images, self.config.diffaugment, self.random("diffaugment", purpose, *part))

    def _kept_weights(self) -> dict[str, float]:
        """The weights of what a fake keeps of its source whatever the method, where they are on."""
        kept = {"edge": self.config.lambda_edge, "luminance": self.config.lambda_luminance}
        return {name: weight for name, weight in kept.items() if weight}

    def _kept_terms(self, source: Tensor, fake: Tensor) -> dict[str, Tensor]:
        measures = {"edge": losses.edge_consistency, "luminance": losses.luminance_inversion}
        return {name: measures[name](source, fake) for name in self._kept_weights()}

    def _parts(self, images: Tensor) -> Sequence[Tensor]:
        """A batch in the equal parts whose gradients are accumulated."""
        n = self.config.accumulate
        if len(images) % n:
            raise ConfigError(
                f"translator.accumulate is {n}: a batch of {len(images)} does not divide into as many parts; "
                f"set training.batch_size to a multiple of {n * distributed.world_size()}"
            )
        return images.chunk(n)

    def _fakes(self, days: Sequence[Tensor]) -> list[Callable[[], Tensor]]:
        """What gives the product's fake of each part: made once where there is one part, anew when asked else.

        So one part's activations are held at a time, for one more forward pass.
        """
        if len(days) > 1:
            return [partial(self._fake, day) for day in days]
        fake = self._fake(days[0])
        return [lambda: fake]

    def _fake(self, day: Tensor) -> Tensor:
        with self.autocast():
            return losses.full_precision(self.trained[self.product](day))

    def _optimize(
        self, player: Player, parts: Sequence[Callable[[], Mapping[str, Tensor]]]
    ) -> dict[str, Tensor]:
        """Backward of each part's loss, the first of its values; clip, step. The means of the parts' values."""
        history, optimizer = self.histories[player], self.optimizers[player]
        optimizer.zero_grad(set_to_none=True)
        found = []
        for self.part, compute in enumerate(parts):
            values = dict(compute())
            name, loss = next(iter(values.items()))
            if self.config.lambda_history and self.part == 0:
                loss = loss + len(parts) * self.config.lambda_history * history.penalty()
            (loss / len(parts)).backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
            found.append({key: value.detach() for key, value in {**values, name: loss}.items()})
        self.part = 0
        if self.config.gradient_clip:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        optimizer.step()
        if self.config.lambda_history:
            history.update()
        return {key: torch.stack([values[key] for values in found]).mean(dim=0) for key in found[0]}

    def _freeze(self, player: Player, frozen: bool) -> None:
        for network in self._of(player):
            network.requires_grad_(not frozen)

    def _of(self, player: Player) -> list[nn.Module]:
        names = self.players.get(player, ())
        return [self.networks[name] for name in names if name in self.networks]

    def _used_histories(self) -> Mapping[Player, losses.HistoricalAverage]:
        return self.histories if self.config.lambda_history else {}

    def _adam(self, player: Player) -> Adam:
        parameters = [p for network in self._of(player) for p in network.parameters()]
        fused = self.device.type in ("cpu", "cuda")
        return Adam(parameters, fused=fused, **self._adam_options(player))

    def _adam_options(self, player: Player) -> dict[str, Any]:
        c = self.config
        lr = c.discriminator_lr if player == "discriminator" and c.discriminator_lr else c.lr
        return {"lr": lr, "betas": (c.beta1, c.beta2)}

    def _set_learning_rates(self) -> None:
        c = self.config
        factor = lr_factor(c.lr_schedule, self.steps_done, self.total_steps, c.lr_decay_start)
        for player, optimizer in self.optimizers.items():
            optimizer.set_lr(self._adam_options(player)["lr"] * factor)

    @contextlib.contextmanager
    def _step_randomness(self) -> Iterator[None]:
        """Dropout draws from torch's global stream: seeded for this step, and given back as it was."""
        if not self.config.dropout:
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derived_seed(self.seed, "dropout", self.steps_done, distributed.rank()))
            yield

    def _placed(self, network: nn.Module) -> nn.Module:
        placed: nn.Module = network.to(self.device).to(memory_format=self.memory_format)
        if self.device.type == "cpu":
            coarse.lay_out(placed)
        return placed

    def _moved(self, images: Tensor) -> Tensor:
        dtype = next(next(iter(self.networks.values())).parameters()).dtype
        return images.to(self.device, dtype, non_blocking=True, memory_format=self.memory_format)


class TwoDomains(Gan):
    """A GAN whose step takes the images of the source and of the target, whatever their names."""

    @abstractmethod
    def _step(self, day: Tensor, night: Tensor) -> dict[str, Tensor]: ...

    def _step_on(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        source, target = images.values()
        return self._step(source, target)
