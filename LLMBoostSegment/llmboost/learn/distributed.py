"""Training on several devices: of the processes that torchrun starts, one a device, each learns from its share of every
batch, and all have the same weights all along (data parallel, as in Li et al. 2020, arXiv 2006.15704).

Not by torch's DistributedDataParallel: that stands for one forward pass a step, and a loss here takes several ways
through a network. The first process (rank 0) reads the clock, decides, logs and writes. Where torchrun has started none
or one, all of this does nothing. https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import LLMBoostError
from ..inference.device import choose_device
from ..machine import of_torchrun, usable_cores

T = TypeVar("T")
S = TypeVar("S")

PATIENCE = 60  # seconds until an error is told that the first process does not tell: torchrun ends all where it did
# of one that waits for another: the first writes a report meanwhile; torchrun ends all where one has ended
TIMEOUT = timedelta(days=1)


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Within, this process is one of those that torchrun has started; yields the device that is its own.

    Args:
        device: as :func:`..inference.device.choose_device` takes it.

    Raises:
        LLMBoostError: there is no device for it. What is wrong in all of them, the first one alone tells.
    """
    if not of_torchrun():
        yield choose_device(device)
        return
    try:
        chosen = choose_device(device)
        if chosen.type == "cuda":
            _take_gpu(int(os.environ["LOCAL_RANK"]))
        elif os.environ.get("OMP_NUM_THREADS") == "1":  # torchrun's own default
            torch.set_num_threads(max(1, usable_cores() // processes_here()))
        dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
        yield chosen
        dist.destroy_process_group()
    except LLMBoostError as error:
        if os.environ["RANK"] == "0":
            raise
        time.sleep(PATIENCE)  # meanwhile the first has told the same, and torchrun has ended this one
        raise LLMBoostError(f"process {os.environ['RANK']}: {error}") from error


def _take_gpu(place: int) -> None:
    count = torch.cuda.device_count()
    if processes_here() > count:
        raise LLMBoostError(
            f"{processes_here()} processes on this machine, which has {count} GPU(s); start torchrun with"
            f" --nproc-per-node {count}, or give --device cpu"
        )
    torch.cuda.set_device(place)


def rank() -> int:
    """Which of the processes this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def processes_here() -> int:
    """How many of them are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if of_torchrun() else 1


def is_first() -> bool:
    """Whether this process writes and tells; True where there is but one."""
    return rank() == 0


def check_share(batch: int) -> None:
    """Raises LLMBoostError unless each process gets as much of a batch as any other."""
    if batch % world_size():
        raise LLMBoostError(
            f"a batch of {batch} cannot be shared by {world_size()} processes; start torchrun with a number of"
            " processes that divides it, or give --batch"
        )


def agreed(value: T) -> T:
    """The first process's value, for all."""
    if world_size() == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told)
    return told[0]


def by_first(act: Callable[[], T]) -> T:
    """What ``act`` gives in the first process, for all; the others wait."""
    return agreed(act() if is_first() else None)  # type: ignore[return-value]


def shared(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """What ``function`` gives for each of the items, of which each process does its share."""
    mine = [function(item) for item in items[rank() :: world_size()]]
    if world_size() == 1:
        return mine
    every: list[list[T]] = [[] for _ in range(world_size())]
    dist.all_gather_object(every, mine)
    return [every[n % world_size()][n // world_size()] for n in range(len(items))]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(_context, gradient)


def summed(tensor: Tensor) -> Tensor:
    """Over all processes. Of what is computed from sums alone, all get the same; their gradients are each one's own
    part, times their number: the mean is that of the whole."""
    return tensor if world_size() == 1 else _Sum.apply(tensor)


def take_over(tensors: Iterable[Tensor]) -> None:
    """Each becomes the first process's, in place."""
    for tensor in tensors if world_size() > 1 else ():
        dist.broadcast(tensor.detach(), 0)


def average(tensors: Iterable[Tensor]) -> None:
    """Each becomes the mean over all processes, in place and in one message."""
    tensors = list(tensors)
    if world_size() == 1 or not tensors:
        return
    every = torch.cat([tensor.detach().float().flatten() for tensor in tensors])
    dist.all_reduce(every)
    every /= world_size()
    for tensor, mean in zip(tensors, every.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(mean.view_as(tensor))
