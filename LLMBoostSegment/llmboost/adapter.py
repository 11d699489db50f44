"""Adapters at use: what a few local cases changed of a base network, merged into the base's weights.

An adapter's tensors are ``NAME.lora_A`` and ``NAME.lora_B`` of a weight NAME of the network, which gets a low-rank
update W + B A (LoRA, Hu et al. 2021, arXiv 2106.09685), and whole tensors under their own names. Merging is two matrix
products a layer and needs no PEFT, so that using an adapted model needs none either.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

LORA_A, LORA_B = ".lora_A", ".lora_B"


def merged(base: nn.Module, network: nn.Module, adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of ``network`` (on the meta device or not): the weights of ``base`` with what ``adapter`` changes.

    Raises:
        ValueError: neither has a tensor that the network needs, or the adapter has one too many.
    """
    state, left = {}, set(adapter)
    for name, tensor in transfer_weights(base, network).items():
        if name in adapter:
            tensor = adapter[name].to(tensor.dtype)  # 4-bit weights stay bytes
        if name + LORA_A in adapter:
            tensor = tensor + low_rank_update(adapter[name + LORA_A], adapter[name + LORA_B]).view(tensor.shape)
        if tensor.is_meta:
            raise ValueError(f"'{name}' is neither in the base nor in the adapter")
        left -= {name, name + LORA_A, name + LORA_B}
        state[name] = tensor
    if left:
        raise ValueError(f"the network has no '{min(left)}'")
    return state


def low_rank_update(a: Tensor, b: Tensor) -> Tensor:
    """The change (out, in * kernel) of a weight by low-rank factors (rank, in, ...) and (out, rank, ...); of a
    transposed convolution's, (in, out * kernel) by (rank, out, ...) and (in, rank, ...)."""
    return b.float().flatten(1) @ a.float().flatten(1)


def transfer_weights(base: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    """The tensors of ``base`` in the shapes of ``network``, as far as they go; others keep the network's own.

    A network of slices takes over a base of volumes: what the base would compute of the slice repeated without end is
    a convolution with its kernels summed across the slices (of transposed ones, whose voxels alternate, the mean).
    """
    known, transposed = tensors_of(base), nn.ConvTranspose3d
    state = {}
    for name, own in network.state_dict().items():
        tensor = known.get(name, own)
        if tensor.shape != own.shape and tensor.ndim == 5 and tensor.shape[:2] == own.shape[:2]:
            module = network.get_submodule(name.rpartition(".")[0])
            axes = [n for n in (2, 3, 4) if own.shape[n] == 1 < tensor.shape[n]]
            tensor = (
                tensor.mean(axes, keepdim=True) if isinstance(module, transposed) else tensor.sum(axes, keepdim=True)
            )
        state[name] = tensor if tensor.shape == own.shape else own
    return state


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """By name, also the float weights of 4-bit layers, which a state dict leaves out."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
