from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torchvision_shim
from gluon_files import save_safetensors
from hub_server import Hub, serve
from packages import needs

from icecore.core.errors import BackboneError, ProofError, WeightsError
from icecore.features.backbones import load_backbone, load_backbones
from icecore.features.bundle import BundledHead, BundledTask, build_bundle
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest
from icecore.features.weights_store import fetch_weights

pytestmark = needs("torch", "timm")
RANDOM = WeightsRequest.parse("random:0")
# One of each kind; the features that timm itself gives.
QUICK = {"resnet18@64": 512, "vit_tiny_patch16_224@48": 192}
SLOW = {
    "convnext_atto": 320,
    "efficientnet_b0": 1280,
    "efficientnet_b5": 2048,
    "dpn68": 832,
    "dpn131": 2688,
    "vit_small_patch14_dinov2@112": 384,
    "vit_small_patch16_dinov3": 384,
    "vit_base_patch16_clip_224": 768,
    "swin_tiny_patch4_window7_224": 768,
    "mobilenetv3_large_100": 1280,
}


@pytest.fixture(autouse=True)
def torchvision():
    torchvision_shim.declare_operators()


def images(count, side):
    rng = np.random.default_rng(0)
    zoom = -(-side // 4)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(zoom, axis=1).repeat(zoom, axis=2)[:, :side, :side]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def reference(spec, batch):
    """What a user of timm would compute, from the record's weights and timm's own words."""
    import timm
    import torch

    from icecore.features.sources.timm import load_timm_backbone

    model = load_timm_backbone(spec, RANDOM).network.model
    about = timm.data.resolve_model_data_config(model)
    scaled = (batch / 255 - np.array(about["mean"])) / np.array(about["std"])
    tensor = torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))
    model.reset_classifier(0)
    with torch.inference_mode():
        return model(tensor).numpy(), about


def check(text, width):
    spec = BackboneSpec.parse(f"timm:{text}")
    backbone = load_backbone(spec, "auto", RANDOM)
    record = backbone.record
    assert record.num_features == width
    assert record.weights == "random:0"
    batch = images(3, record.resolution)
    expected, about = reference(spec, batch)
    assert expected.shape == (3, width)
    assert relative(expected[0], expected[1]) > 1e-3, "features must depend on the image"
    engine = backbone.start("cpu")
    found = engine.run(batch)
    assert relative(found, expected) < 1e-4
    assert np.allclose(engine.run(batch[:1]), found[:1], rtol=1e-3, atol=1e-4), "any batch size"
    assert record.preprocessing.mean == tuple(about["mean"])
    assert record.preprocessing.std == tuple(about["std"])
    assert record.preprocessing.crop_pct == about["crop_pct"]
    assert record.preprocessing.interpolation == about["interpolation"]
    assert record.resolution == (spec.resolution or about["input_size"][1])


@pytest.mark.parametrize(("text", "width"), QUICK.items())
def test_a_timm_network_gives_what_timm_gives(text, width):
    check(text, width)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "width"), SLOW.items())
def test_other_kinds_of_timm_networks(text, width):
    check(text, width)


def test_a_kept_graph_needs_no_torch(graphs):
    spec = BackboneSpec.parse("timm:resnet18@64")
    record = load_backbone(spec, "onnxruntime", RANDOM).record
    script = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['timm'] = None\n"
        "from icecore.features import WeightsRequest, load_backbone, BackboneSpec\n"
        "backbone = load_backbone(BackboneSpec.parse('timm:resnet18@64'), 'onnxruntime',"
        " WeightsRequest.parse('random:0'))\n"
        "print(backbone.record.weights_digest)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == record.weights_digest, done.stderr
    # Other tests may have exported it at other sizes, too.
    notes = [json.loads(path.read_text()) for path in graphs.glob("timm-resnet18-*.json")]
    assert notes
    assert all(note["relative_error"] < 1e-4 for note in notes)


def test_without_torch_the_error_says_what_to_install():
    script = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['timm'] = None\n"
        "from icecore.features import WeightsRequest, load_backbone, BackboneSpec\n"
        "from icecore.core.errors import MissingDependencyError\n"
        "try:\n"
        "    load_backbone(BackboneSpec.parse('timm:resnet18@32'), 'auto',"
        " WeightsRequest.parse('random:0'))\n"
        "except MissingDependencyError as error:\n"
        "    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install 'icecore[timm]'" in done.stdout, done.stderr


def test_a_graph_that_differs_is_not_kept(graphs, monkeypatch):
    import icecore.features.sources.timm as timm_source

    add = timm_source.add_normalisation
    monkeypatch.setattr(
        timm_source, "add_normalisation", lambda model, how: add(
            model, dataclasses.replace(how, std=tuple(value * 1.01 for value in how.std))
        )
    )  # fmt: skip
    spec = BackboneSpec.parse("timm:resnet18@96")
    before = set(graphs.iterdir())
    with pytest.raises(ProofError, match="differs from torch by .*1e-04 is allowed"):
        load_backbone(spec, "onnxruntime", RANDOM)
    assert set(graphs.iterdir()) == before


def test_unknown_names_get_near_matches():
    with pytest.raises(BackboneError, match=r"(?s)has no network 'convnext_ato'.*convnext_atto"):
        load_backbone(BackboneSpec.parse("timm:convnext_ato"), "auto", RANDOM)
    with pytest.raises(BackboneError, match=r"(?s)no network 'resnet18.a1_in2k'.*resnet18.a1_in1k"):
        load_backbone(BackboneSpec.parse("timm:resnet18.a1_in2k"), "auto", RANDOM)


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(BackboneError, match=r"(?s)30 x 30 pixels are no whole.*a multiple of 16"):
        load_backbone(BackboneSpec.parse("timm:vit_tiny_patch16_224@30"), "auto", RANDOM)
    with pytest.raises(BackboneError, match=r"(?s)cannot take images of 16 x 16.*@RESOLUTION away"):
        load_backbone(BackboneSpec.parse("timm:inception_v4@16"), "auto", RANDOM)


def test_mxnet_does_not_run_it():
    with pytest.raises(BackboneError, match="no Gluon network"):
        load_backbone(BackboneSpec.parse("timm:resnet18"), "mxnet", RANDOM)


def test_random_weights_depend_on_the_seed_alone():
    from icecore.features.sources.timm import load_timm_backbone

    spec = BackboneSpec.parse("timm:resnet18@64")
    digests = [
        load_timm_backbone(spec, WeightsRequest.parse(f"random:{seed}")).record.weights_digest
        for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.fixture
def safetensors(tmp_path):
    import timm
    import torch

    torch.manual_seed(5)
    network = timm.create_model("resnet18.a1_in1k", pretrained=False).eval()
    return network, save_safetensors(network, tmp_path / "resnet18.a1_in1k.safetensors")


def pretrained_matches(backbone, network):
    import torch

    batch = images(2, 64)
    about = network.pretrained_cfg
    scaled = (batch / 255 - np.array(about["mean"])) / np.array(about["std"])
    tensor = torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(tensor), pre_logits=True).numpy()
    return relative(backbone.start("cpu").run(batch), expected) < 1e-4


def test_weights_come_from_the_hub_once(safetensors, tmp_path, monkeypatch):
    network, path = safetensors
    hub = Hub()
    sha256 = hub.put("timm/resnet18.a1_in1k", "model.safetensors", path.read_bytes())
    monkeypatch.setenv("ICECORE_GRAPHS", str(tmp_path / "graphs"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    spec = BackboneSpec.parse("timm:resnet18.a1_in1k@64")
    with serve(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        fetched = fetch_weights("timm:resnet18.a1_in1k")
        assert fetched.path.read_bytes() == path.read_bytes()
        hub.asked.clear()
        backbone = load_backbone(spec, "onnxruntime", WeightsRequest())
        assert "GET" not in [method for method, path, _ in hub.asked if "resolve" in path]
        assert pretrained_matches(backbone, network)
        assert (
            f"hub timm/resnet18.a1_in1k@{Hub.COMMIT[:12]} model.safetensors"
            in backbone.network.origin
        )
        assert sha256 in backbone.network.origin
        hub.asked.clear()
        again = load_backbone(spec, "onnxruntime", WeightsRequest())
        assert hub.asked == []
    assert again.record == backbone.record
    assert again.network.origin == backbone.network.origin
    assert again.network.license == backbone.network.license == "apache-2.0"


def test_weights_come_from_the_users_folder(safetensors, tmp_path):
    network, path = safetensors
    spec = BackboneSpec.parse("timm:resnet18.a1_in1k@64")
    backbone = load_backbone(spec, "onnxruntime", WeightsRequest(folder=tmp_path))
    assert pretrained_matches(backbone, network)
    assert str(path) in backbone.network.origin
    assert backbone.network.license == ""
    import timm

    whole = path.read_bytes()
    save_safetensors(timm.create_model("resnet18", num_classes=7), path)
    with pytest.raises(WeightsError, match=r"size mismatch for fc.weight: .*\[7, 512\]") as caught:
        load_backbone(spec, "onnxruntime", WeightsRequest(folder=tmp_path))
    assert "one of other classes is exported to ONNX" in caught.value.hint
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(WeightsError, match="it is a pointer of Git LFS") as caught:
        load_backbone(spec, "onnxruntime", WeightsRequest(folder=tmp_path))
    assert "git lfs pull" in caught.value.hint
    path.write_bytes(whole[:100_000])
    with pytest.raises(WeightsError, match=r"cannot be built from its weights.*"):
        load_backbone(spec, "onnxruntime", WeightsRequest(folder=tmp_path))


def test_without_the_hub_the_error_says_which_file_to_bring():
    spec = BackboneSpec.parse("timm:resnet18.a1_in1k@64")
    with pytest.raises(
        WeightsError,
        match=r"(?s)no weights for timm:resnet18.a1_in1k@64: .*timm/resnet18.a1_in1k/resolve/main/"
        r"model.safetensors: .*put it as resnet18.a1_in1k.safetensors into a folder",
    ):
        load_backbone(spec, "onnxruntime", WeightsRequest())


def test_every_hub_file_of_timm_is_named_as_safetensors():
    import timm

    from icecore.features.sources.timm import _safe_name

    configs = [timm.get_pretrained_cfg(name) for name in timm.list_pretrained()]
    assert len(configs) > 1000
    assert {_safe_name(one.hf_hub_filename) for one in configs} == {"model.safetensors"}
    assert _safe_name("open_clip_pytorch_model.bin") == "open_clip_model.safetensors"


def test_a_gluon_network_and_a_transformer_of_timm_go_into_one_bundle():
    import onnx
    import onnxruntime

    specs = ["gluon:mobilenet0.25@48", "timm:vit_tiny_patch16_224@48"]
    pair = load_backbones(specs, "onnxruntime", RANDOM)
    opsets = [onnx.load_from_string(one.graph()).opset_import[0].version for one in pair]
    assert opsets[0] < opsets[1], "Gluon's graphs are of an older opset, and come first here"
    wide = sum(one.record.num_features for one in pair)
    matrix = np.random.default_rng(1).normal(0, 0.05, (wide, 3))
    head = BundledHead(1.0, (0, 1), [(matrix, np.zeros(3))], (0, 1, 2))
    model = build_bundle(pair, [BundledTask("t", tuple("abc"), (head,))], "crop", "float32", {})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    batch = images(3, 48)
    (found,) = session.run(None, {value.name: batch for value in session.get_inputs()})
    rows = np.concatenate([one.start("cpu", 3).run(batch) for one in pair], axis=1)
    expected = np.exp(rows @ matrix)
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-3, "the answers depend on the image"


@pytest.mark.parametrize("kind", ["int8", "complex64"])
def test_codes_of_weights_are_no_weights(safetensors, tmp_path, kind):
    """PyTorch would take them for numbers, and leave the half of complex ones out."""
    network, path = safetensors
    import torch

    tensors = {
        name: (100 * value).to(getattr(torch, kind)) if value.dtype.is_floating_point else value
        for name, value in network.state_dict().items()
    }
    pytest.importorskip("safetensors.torch").save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"no plain numbers: .* \((I8|C64)\)"):
        load_backbone(
            BackboneSpec.parse("timm:resnet18.a1_in1k@64"),
            "onnxruntime",
            WeightsRequest(folder=tmp_path),
        )
