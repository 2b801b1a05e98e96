"""A training step recorded once as a CUDA graph, and replayed from then on.

A step of a GAN is some thousand short kernels. A GPU computes them faster than Python asks for them, so that it waits
for most of a step of few images (benchmarks/test_translators.py -k gpu prints by how much). A recorded step does the
same kernels on the same memory: the same numbers, to the bit. What changes from step to step lies in memory that the
step reads: the images, the learning rates, the seeds, what the image pools exchange.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from d2n.translators import distributed
from d2n.translators.pool import ImagePool

logger = logging.getLogger(__name__)

_BEFORE = 3  # steps that are not recorded, so that what torch sets up at first use is set up
Values = dict[str, Tensor]
Images = Mapping[str, Tensor]


class Recorder(Protocol):
    """Takes down what is asked of a device, and asks it again."""

    def record(self, body: Callable[[], None], streams: list[torch.Generator]) -> None:
        """Take down what ``body`` does, without a result yet."""

    def replay(self) -> None:
        """Do it."""


class CudaRecorder:
    """torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.graph = torch.cuda.CUDAGraph()

    def record(self, body: Callable[[], None], streams: list[torch.Generator]) -> None:
        for stream in streams:
            self.graph.register_generator_state(stream)
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # others load images meanwhile
            body()

    def replay(self) -> None:
        self.graph.replay()


class RecordedStep:
    """``step`` of images to losses, the first few times as it is, then recorded for images of that shape."""

    def __init__(
        self,
        step: Callable[[Images], Values],
        pools: Mapping[str, ImagePool],
        device: torch.device,
        seed_of: Callable[[tuple[str, ...]], int],
        recorder: Callable[[], Recorder] = CudaRecorder,
    ) -> None:
        self.step, self.pools, self.device, self.seed_of = step, pools, device, seed_of
        self.recorder = recorder
        self.streams: dict[tuple[str, ...], torch.Generator] = {}
        self._is_in_body = False
        self._asked: list[tuple[str, ...]] = []  # for streams, in this step
        self.forget()

    def __call__(self, images: Images) -> Values:
        """Losses of one step, tensors of their own."""
        if self._recorder is not None and not self._fits(images):
            self.forget()
        if self._recorder is None and self._num_before >= _BEFORE and self._is_possible:
            self._record(images)
        if self._recorder is None:
            self._num_before += 1
            self._asked.clear()
            return self._aside(images) if self._is_possible else self.step(images)
        return self._replay(self._recorder, images)

    def stream(self, purpose: tuple[str, ...]) -> torch.Generator:
        """The stream for a purpose, at its beginning in this step."""
        self._asked.append(purpose)
        if self._is_in_body:  # seeded before the replay
            return self.streams[purpose]
        stream = self.streams.setdefault(purpose, torch.Generator(self.device))
        return stream.manual_seed(self.seed_of(purpose))

    def forget(self) -> None:
        """Record anew, as after a state was loaded."""
        for pool in self.pools.values():
            pool.gather()
        self._recorder: Recorder | None = None
        self._num_before, self._is_possible = 0, True
        self._images: dict[str, Tensor] = {}
        self._names: tuple[str, ...] = ()
        self._values = torch.empty(0)

    def _aside(self, images: Images) -> Values:
        """Where CUDA wants the steps before a recording: on another stream."""
        if self.device.type != "cuda":
            return self.step(images)
        here = torch.cuda.current_stream(self.device)
        aside = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            values = self.step(images)
        here.wait_stream(aside)
        return values

    def _record(self, images: Images) -> None:
        if len(set(self._asked)) < len(self._asked):
            self._is_possible = (
                False  # one stream twice in a step: the second begins anew, a recorded one goes on
            )
            return
        recorder = self.recorder()
        self._images = {domain: torch.empty_like(x).copy_(x) for domain, x in images.items()}
        for pool in self.pools.values():
            pool.lay_out(len(next(iter(images.values()))))
        try:
            recorder.record(self._body, list(self.streams.values()))
        except RuntimeError as error:
            self.forget()
            self._is_possible = False
            reason = str(error).splitlines()[0]
            logger.warning("a step cannot be recorded as a CUDA graph: %s; steps are slower without", reason)
        else:
            self._recorder = recorder

    def _body(self) -> None:
        self._is_in_body = True
        try:
            values = self.step(self._images)
            self._names = tuple(values)
            self._values = torch.stack([value.detach() for value in values.values()])
        finally:
            self._is_in_body = False

    def _replay(self, recorder: Recorder, images: Images) -> Values:
        for domain, x in images.items():
            self._images[domain].copy_(x, non_blocking=True)
        for purpose, stream in self.streams.items():
            stream.manual_seed(self.seed_of(purpose))
        for pool in self.pools.values():
            pool.plan()
        recorder.replay()
        return dict(zip(self._names, self._values.clone().unbind(), strict=True))

    def _fits(self, images: Images) -> bool:
        return {d: x.shape for d, x in images.items()} == {d: x.shape for d, x in self._images.items()}


def is_possible(translator: Any) -> bool:
    """Whether each of its steps does the same kernels, alone on a GPU."""
    c = translator.config
    always_the_same = translator.is_recordable and c.accumulate == 1 and not (c.lambda_history or c.recompute)
    return always_the_same and translator.device.type == "cuda" and distributed.world_size() == 1
