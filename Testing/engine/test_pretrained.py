"""Published vision transformers' weights: judged by the network of transformers that wrote them."""

import re

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
import transformers

from llmboost.card import Normalization, Preprocessing
from llmboost.errors import LLMBoostError
from llmboost.inference.classifier_input import classifier_input
from llmboost.io.image import read_volumes
from llmboost.learn.classification.pretrained import load_pretrained
from llmboost.networks import build

SIZE, PATCH, WIDTH, DEPTH, HEADS = 32, 8, 24, 2, 3
OPTIONS = {
    "channels": 3, "image_size": (SIZE, SIZE, 1), "patch": (PATCH, PATCH, 1), "width": WIDTH, "depth": DEPTH,
    "heads": HEADS, "head_width": WIDTH // HEADS, "mlp": 40,
}  # fmt: skip
STEPS = Preprocessing(
    3, patch_size=(SIZE, SIZE, 1), color=True, normalization=(Normalization("window", 0, 255, 128, 64),) * 3
)


@pytest.fixture(scope="module")
def reference():
    """A small ViT of random weights, none of them neutral."""
    config = transformers.ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=40, image_size=SIZE,
        patch_size=PATCH, layer_norm_eps=1e-6,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


@pytest.fixture
def folder(reference, tmp_path):
    """As transformers writes it."""
    reference.save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def timm_names(state):
    """The same tensors as timm names and joins them."""
    result = {}
    for name, tensor in state.items():
        if re.search(r"(key|value)\.(weight|bias)$", name):
            continue
        if "query" in name:
            tensor = torch.cat([state[name.replace("query", part)] for part in ("query", "key", "value")])
            name = name.replace("attention.attention.query", "attn.qkv")
        for theirs, timm in (
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.position_embeddings", "pos_embed"),
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("encoder.layer", "blocks"),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.output.dense", "attn.proj"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
            ("layernorm", "norm"),
        ):
            name = name.replace(theirs, timm)
        result[name] = tensor
    return {**result, "head.weight": torch.zeros(1000, WIDTH), "head.bias": torch.zeros(1000)}


def write(path, state):
    path.mkdir(exist_ok=True)
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, path / "model.safetensors"
    )
    return path


def loaded(folder, **options):
    network = build("vit-s", {**OPTIONS, **options}, None).eval()
    load_pretrained(network, folder)
    return network


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A picture as the network sees it, and as the reference does: upright, colors first."""
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    PIL.Image.fromarray(pixels).save(path)
    framed, _ = classifier_input(read_volumes(path, color=True), STEPS, "square")
    return torch.from_numpy(framed), ((torch.from_numpy(pixels).float() - 128) / 64).permute(2, 0, 1)[None]


def class_token(reference, pixels, **options):
    with torch.no_grad():
        return reference(pixel_values=pixels, **options).last_hidden_state[:, 0]


@pytest.mark.parametrize("names", ["transformers", "timm"])
def test_a_picture_has_the_features_that_the_reference_gives_it(reference, folder, picture, names, tmp_path):
    if names == "timm":
        published = safetensors.torch.load_file(folder / "model.safetensors")
        folder = write(tmp_path / "timm", timm_names(published))
    framed, upright = picture
    with torch.no_grad():
        features = loaded(folder).features(framed)
    torch.testing.assert_close(features, class_token(reference, upright), atol=1e-4, rtol=1e-4)


def test_a_classification_models_prefix_and_head_are_no_obstacle(reference, folder, picture, tmp_path):
    state = {f"vit.{name}": t for name, t in safetensors.torch.load_file(folder / "model.safetensors").items()}
    folder = write(tmp_path / "prefixed", {**state, "classifier.weight": torch.ones(3, WIDTH)})
    framed, upright = picture
    network = loaded(folder)
    with torch.no_grad():
        torch.testing.assert_close(network.features(framed), class_token(reference, upright), atol=1e-4, rtol=1e-4)
    assert network.head.weight.shape == (2, WIDTH)


def test_gray_images_are_seen_as_three_equal_colors(reference, folder, picture):
    framed, upright = picture
    with torch.no_grad():
        features = loaded(folder, channels=1).features(framed[:, :1])
    expected = class_token(reference, upright[:, :1].repeat(1, 3, 1, 1))
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [48, 64])
def test_other_grids_interpolate_positions(reference, folder, size):
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    framed = pixels.transpose(2, 3).flip([2, 3])[..., None]  # upright to R and A
    network = loaded(folder, image_size=(size, size, 1))
    assert network.transformer.position.shape[2:] == (size // PATCH, size // PATCH, 1)
    with torch.no_grad():
        features = network.features(framed)
    expected = class_token(reference, pixels, interpolate_pos_encoding=True)
    torch.testing.assert_close(features, expected, atol=0.05, rtol=0.05)
    assert torch.cosine_similarity(features, expected).min() > 0.999


# -- what is refused ---------------------------------------------------------------------------------------------------


def refusal(folder, **options):
    network = build(options.pop("network", "vit-s"), {**OPTIONS, **options}, None)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(LLMBoostError) as caught:
        load_pretrained(network, folder)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    return str(caught.value)


def test_folders_without_one_file(folder, tmp_path):
    assert "0 .safetensors files; a folder with a vision transformer's one is expected" in refusal(tmp_path)
    assert "0 .safetensors files" in refusal(tmp_path / "missing")
    (folder / "other.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert "2 .safetensors files" in refusal(folder)


@pytest.mark.parametrize(
    "options",
    [{"width": 32, "head_width": 8, "heads": 4}, {"depth": 1}, {"depth": 3}, {"mlp": 44}, {"patch": (4, 4, 1)}],
    ids=str,
)
def test_weights_of_another_size(folder, options):
    message = refusal(folder, **options)
    assert message.startswith(f"{folder / 'model.safetensors'}: weights of another network")


def test_damaged_and_foreign_files(folder, tmp_path):
    state = safetensors.torch.load_file(folder / "model.safetensors")
    first = next(name for name in state if "layernorm_before" in name)
    lacking = {name: tensor for name, tensor in state.items() if name != first}
    assert "weights of another network" in refusal(write(tmp_path / "lacking", lacking))
    assert "weights of another network" in refusal(write(tmp_path / "foreign", {"weight": torch.zeros(3)}))
    position = next(name for name in state if "position" in name)
    oblong = {**state, position: state[position][:, :-3]}
    assert "weights of another network" in refusal(write(tmp_path / "oblong", oblong))
    half = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(half[: len(half) // 2])
    assert "weights of another network" in refusal(folder)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("vit-tiny", {"stem": (4,)}),
        ("vit3d", {"image_size": (32, 32, 8), "patch": (8, 8, 4)}),
        ("vivit", {"image_size": (32, 32, 8), "patch": (8, 8, 4)}),
    ],
)
def test_networks_that_take_none(folder, network, options):
    assert "pre-trained weights fit vit-s only; choose that network" in refusal(folder, network=network, **options)
