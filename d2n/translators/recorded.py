"""A training step recorded once as a CUDA graph, and replayed from then on.

A step of a GAN is some thousand short kernels. A GPU computes them faster than Python asks for them, so that it waits
for most of a step of few images (benchmarks/test_gpu.py prints by how much). A recorded step does the
same kernels on the same memory: the same numbers, to the bit. What changes from step to step lies in memory that the
step reads: the images, the learning rates, the seeds, what the image pools exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from d2n.errors import TrainingError
from d2n.translators import distributed
from d2n.translators.pool import ImagePool

_BEFORE = 3  # steps that are not recorded, so that what torch sets up at first use is set up
Values = dict[str, Tensor]
Images = Mapping[str, Tensor]
SeedOf = Callable[[tuple[str, ...]], int]


class Recorder(Protocol):
    """Takes down what is asked of a device, and asks it again."""

    def record(self, body: Callable[[], None], streams: list[torch.Generator]) -> None:
        """Take down what ``body`` does, without a result yet."""

    def replay(self) -> None:
        """Do it."""


class CudaRecorder:
    """torch.cuda.CUDAGraph on a device."""

    def __init__(self, device: torch.device) -> None:
        self.graph, self.device = torch.cuda.CUDAGraph(), device

    def record(self, body: Callable[[], None], streams: list[torch.Generator]) -> None:
        for stream in streams:
            self.graph.register_generator_state(stream)
        here = torch.cuda.current_stream(self.device)
        aside = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        try:
            # other threads load images meanwhile
            with torch.cuda.graph(self.graph, stream=aside, capture_error_mode="thread_local"):
                body()
        finally:
            torch.cuda.set_stream(here)  # torch leaves the other one where a recording fails

    def replay(self) -> None:
        self.graph.replay()


class RecordedStep:
    """A step of images to losses, the first few times as it is, then recorded for images of that shape.

    The step and the seeds are given with each call: who owns both is free as soon as nobody else holds it.
    """

    def __init__(
        self,
        pools: Mapping[str, ImagePool],
        device: torch.device,
        recorder: Callable[[torch.device], Recorder] = CudaRecorder,
    ) -> None:
        self.pools, self.device, self.recorder = pools, device, recorder
        self.streams: dict[tuple[str, ...], torch.Generator] = {}
        self._is_in_body = False
        self._asked: list[tuple[str, ...]] = []  # for streams, in this step
        self._aside = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # as above
        self.forget()

    def __call__(self, images: Images, step: Callable[[Images], Values], seed_of: SeedOf) -> Values:
        """Losses of one step, tensors of their own.

        TrainingError where CUDA cannot record the step: the process cannot go on with it then.
        """
        if self._recorder is not None and not self._fits(images):
            self.forget()
        if self._recorder is None and self._num_before >= _BEFORE:
            self._record(images, step)
        if self._recorder is None:
            self._num_before += 1
            self._asked.clear()
            return self._not_recorded(images, step)
        return self._replay(self._recorder, images, seed_of)

    def stream(self, purpose: tuple[str, ...], seed: int) -> torch.Generator:
        """The stream for a purpose, at its beginning in this step."""
        self._asked.append(purpose)
        if self._is_in_body:  # seeded before the replay
            return self.streams[purpose]
        return self.streams.setdefault(purpose, torch.Generator(self.device)).manual_seed(seed)

    def forget(self) -> None:
        """Record anew, as after a state was loaded."""
        for pool in self.pools.values():
            pool.gather()
        self._recorder: Recorder | None = None
        self._num_before = 0
        self._images: dict[str, Tensor] = {}
        self._names: tuple[str, ...] = ()
        self._values = torch.empty(0)

    def _not_recorded(self, images: Images, step: Callable[[Images], Values]) -> Values:
        """Where CUDA wants the steps before a recording: on another stream."""
        if self._aside is None:
            return step(images)
        here = torch.cuda.current_stream(self.device)
        self._aside.wait_stream(here)
        with torch.cuda.stream(self._aside):
            values = step(images)
        here.wait_stream(self._aside)
        return values

    def _record(self, images: Images, step: Callable[[Images], Values]) -> None:
        asks_twice = len(set(self._asked)) < len(
            self._asked
        )  # the second begins anew, a recorded one goes on
        if asks_twice or not all(pool.is_uniform for pool in self.pools.values()):
            return
        recorder = self.recorder(self.device)
        self._images = {domain: torch.empty_like(x).copy_(x) for domain, x in images.items()}

        def body() -> None:
            values = step(self._images)
            self._names = tuple(values)
            self._values = torch.stack([value.detach() for value in values.values()])

        try:
            for pool in self.pools.values():
                pool.lay_out(len(next(iter(images.values()))))
            recorder.record(self._inside(body), list(self.streams.values()))
        except RuntimeError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrainingError(
                f"a step could not be recorded as a CUDA graph: {reason}; go on with training.cuda_graphs=false"
            ) from error
        self._recorder = recorder

    def _inside(self, body: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            self._is_in_body = True
            try:
                body()
            finally:
                self._is_in_body = False

        return run

    def _replay(self, recorder: Recorder, images: Images, seed_of: SeedOf) -> Values:
        for domain, x in images.items():
            self._images[domain].copy_(x, non_blocking=True)
        for purpose, stream in self.streams.items():
            stream.manual_seed(seed_of(purpose))
        for pool in self.pools.values():
            pool.plan()
        recorder.replay()
        return dict(zip(self._names, self._values.clone().unbind(), strict=True))

    def _fits(self, images: Images) -> bool:
        return {d: x.shape for d, x in images.items()} == {d: x.shape for d, x in self._images.items()}


def is_recordable(translator: Any) -> bool:
    """Whether each of its steps does the same kernels, alone on a GPU."""
    c = translator.config
    always_the_same = translator.has_one_path and c.accumulate == 1 and not (c.lambda_history or c.recompute)
    return always_the_same and translator.device.type == "cuda" and distributed.world_size() == 1
