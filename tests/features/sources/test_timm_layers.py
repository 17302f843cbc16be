"""Tokens and named modules of timm's networks: each against what timm itself computes."""

from __future__ import annotations

import numpy as np
import pytest
import torchvision_shim
from packages import needs

from icecore.core.errors import BackboneError
from icecore.features.backbones import load_backbones
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.registry import source_of
from icecore.features.sources.timm_layers import usual_pool
from icecore.features.weights.request import WeightsRequest

pytestmark = needs("torch", "timm", "onnxruntime")
RANDOM = WeightsRequest.parse("random:0")
VIT, RESNET = "timm:vit_tiny_patch16_224@32", "timm:resnet18@64"


@pytest.fixture(autouse=True)
def torchvision():
    torchvision_shim.declare_operators()


def loaded(text):
    (backbone,) = load_backbones([text], "onnxruntime", RANDOM)
    return backbone


def images(side):
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)


def timm_values(text, names):
    """Return what timm's modules give for two images, by name."""
    import torch

    from icecore.features.sources.timm import load_timm_backbone

    built = load_timm_backbone(BackboneSpec.parse(text), RANDOM)
    model, how = built.network.model, built.record.preprocessing
    seen = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda module, given, out, name=name: seen.__setitem__(name, out)
        )
    scaled = (images(how.resolution) / 255 - np.array(how.mean)) / np.array(how.std)
    with torch.inference_mode():
        model.forward_features(torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32)))
        last = {name: model.norm(value) for name, value in seen.items() if "blocks" in name}
    return {k: v.numpy() for k, v in seen.items()}, {k: v.numpy() for k, v in last.items()}


@pytest.fixture(scope="module")
def tokens():
    """The tokens of the last two blocks, before and after the last normalisation."""
    torchvision_shim.declare_operators()
    return timm_values(VIT, ["blocks.10", "blocks.11"])


CASES = {
    "#layer=tokens": lambda b, a: a[:, 0],
    "#layer=tokens,pool=mean": lambda b, a: a[:, 1:].mean(1),
    "#layer=tokens,pool=cls+mean": lambda b, a: np.hstack([a[:, 0], a[:, 1:].mean(1)]),
    "#layer=tokens:last-2,pool=cls+mean": lambda b, a: np.hstack(
        [b[:, 0], a[:, 0], a[:, 1:].mean(1)]
    ),
    "#layer=tokens:last-2,pool=mean": lambda b, a: np.hstack([b[:, 1:].mean(1), a[:, 1:].mean(1)]),
}


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_pooled_as_they_say(case, tokens):
    _, normed = tokens
    expected = CASES[case](normed["blocks.10"], normed["blocks.11"])
    backbone = loaded(VIT + case)
    assert backbone.record.num_features == expected.shape[1]
    assert backbone.layer.blocks == (2 if "last-2" in case else 1)
    found = backbone.start("cpu", 2).run(images(32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_module_by_its_name(tokens):
    plain, _ = tokens
    found = loaded(f"{VIT}#layer=blocks.10,pool=mean").start("cpu", 2).run(images(32))
    np.testing.assert_allclose(found, plain["blocks.10"][:, 1:].mean(1), rtol=1e-4, atol=1e-4)
    maps = timm_values(RESNET, ["layer3"])[0]["layer3"]
    for pool, expected in {"avg": maps.mean((2, 3)), "max": maps.max((2, 3))}.items():
        found = loaded(f"{RESNET}#layer=layer3,pool={pool}").start("cpu", 2).run(images(64))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_what_authors_evaluate_with_is_the_default():
    names = {
        "vit_small_patch14_reg4_dinov2": "cls+mean",
        "vit_small_patch16_dinov3": "cls+mean",
        "vit_base_patch16_siglip_224": "mean",
        "vit_base_patch16_clip_224": "cls",
    }
    for name, pool in names.items():
        assert usual_pool(name) == pool
        spec = BackboneSpec.parse(f"timm:{name}#layer=tokens:last-4")
        assert source_of(spec).settled(spec).layer.pool == pool


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{RESNET}#layer=tokens", "no transformer with a list of blocks"),
        (f"{VIT}#layer=tokens:last-13", "has 12 blocks, not 13"),
        (f"{VIT}#layer=tokens,pool=gem", "tokens have no height and width"),
        (f"{VIT}#layer=blocks.99", r"(?s)has no layer 'blocks.99'.*did you mean"),
        (f"{RESNET}#layer=layer3,pool=cls", "cannot be pooled by cls"),
        (f"{RESNET}#pool=gem", "the default features come pooled"),
        ("timm:vit_tiny_patch16_siglip_224@32#layer=tokens,pool=cls", "no network"),
        ("gluon:resnet18_v1#layer=tokens", "gluon:resnet18_v1 has no tokens"),
        ("gluon:resnet18_v1#pool=cls+mean", "gluon:resnet18_v1 has no tokens"),
    ],
)
def test_layers_that_cannot_be_had_are_refused(text, said):
    with pytest.raises(BackboneError, match=said):
        loaded(text)


def test_layers_are_listed():
    spec = BackboneSpec.parse(RESNET)
    found = {name: shape for name, _, shape in source_of(spec).layers(spec, RANDOM)}
    assert found["layer3"] == (256, 4, 4)


def test_a_spec_has_a_layer_of_its_own():
    spec = BackboneSpec.parse("timm:x@224#layer=tokens:last-4,pool=cls")
    assert (spec.name, spec.resolution, spec.layer.name) == ("x", 224, "tokens:last-4")
    assert spec.canonical == "timm:x@224"
    assert BackboneSpec.parse("onnx:a#b.onnx").layer.is_default
    assert BackboneSpec.parse("onnx:a#b.onnx#pool=max").layer.pool == "max"
