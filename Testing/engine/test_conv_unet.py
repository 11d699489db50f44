"""nnU-Net's networks, of our own writing: their shapes, their way through a file, and nnU-Net's answers."""

import pytest
import torch

from llmboost.errors import LLMBoostError
from llmboost.foreign.nnunet.weights import network_weights
from llmboost.model import load_model, save_model
from llmboost.networks import build

NAMES = ("plain-conv-unet", "residual-encoder-unet")
SMALL = {
    "channels": 2,
    "classes": 3,
    "features": (4, 8, 8),
    "kernels": ((3, 3, 1), (3, 3, 3), (3, 3, 3)),
    "strides": ((1, 1, 1), (2, 2, 1), (2, 2, 2)),
    "blocks": (1, 2, 2),
    "decoder_convs": (1, 2),
}


def network_of(name, **options):
    torch.manual_seed(0)
    return build(name, {**SMALL, **options}, None).eval()


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_the_images_size_come_back_from_a_file_to_the_last_digit(name, tiny_card, tmp_path):
    network = network_of(name)
    assert network.stride == (4, 4, 2)
    image = torch.randn(1, 2, 16, 12, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = network(image)
    assert logits.shape == (1, 3, 16, 12, 6)
    card = tiny_card(network)
    save_model(network, card, tmp_path / "m.safetensors", torch.float32)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "m.safetensors").network(image), logits)


@pytest.mark.parametrize(
    "options", [{"blocks": (1, 2)}, {"blocks": (1, 10**9, 1)}, {"features": (4,)}, {"decoder_convs": (1, 1, 1)}]
)
def test_sizes_that_are_none_are_refused_at_once(options):
    with pytest.raises((LLMBoostError, ValueError)):
        network_of("plain-conv-unet", **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_answers_as_the_original_does(name, axes, dimensions):
    unet = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet", reason="dynamic-network-architectures is not installed"
    )
    kind, blocks = {
        "plain-conv-unet": (unet.PlainConvUNet, "n_conv_per_stage"),
        "residual-encoder-unet": (unet.ResidualEncoderUNet, "n_blocks_per_stage"),
    }[name]
    kernels, strides = ((1, 3, 3), (3, 3, 3), (3, 3, 3)), ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    if dimensions == 2:
        kernels, strides = (tuple(size[1:] for size in sizes) for sizes in (kernels, strides))
    torch.manual_seed(0)
    theirs = kind(
        *(2, 3, (4, 8, 8)),
        conv_op=torch.nn.Conv3d if dimensions == 3 else torch.nn.Conv2d,
        kernel_sizes=kernels,
        strides=strides,
        **{blocks: (1, 2, 2)},
        num_classes=3,
        n_conv_per_stage_decoder=(1, 2),
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d if dimensions == 3 else torch.nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    ).eval()
    theirs.decoder.deep_supervision = False

    def turned(sizes):
        sizes = (1,) * (3 - dimensions) + sizes
        return tuple(sizes[axis] for axis in axes)

    own = network_of(name, kernels=tuple(map(turned, kernels)), strides=tuple(map(turned, strides)))
    own.load_state_dict(network_weights(theirs.state_dict(), axes))
    image = torch.randn(1, 2, *(8, 16, 24)[3 - dimensions :], generator=torch.Generator().manual_seed(1))
    volume = image if dimensions == 3 else image[:, :, None]
    to_ours, back = [0, 1, *(2 + axis for axis in axes)], [0, 1, *(2 + axes.index(n) for n in range(3))]
    with torch.no_grad():
        expected, found = theirs(image), own(volume.permute(to_ours).contiguous()).permute(back)
    found = found if dimensions == 3 else found[:, :, 0]
    assert torch.allclose(found, expected, atol=1e-5)
