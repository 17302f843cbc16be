"""Where the weights of Gluon networks live on, since Gluon's own host may be gone.

Only origins that can be given a reason are listed. A file is as good as its
reason: none of them could be compared byte for byte with what Gluon published,
except where the import finds that it can be (see `weights_store`).
"""

import dataclasses

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_PORTED = (
    "timm ported it from GluonCV's model zoo in 2019, and GluonCV has published this network under "
    "one SHA-1 alone since then"
)
_TORCHVISION = (
    "both Gluon zoos publish one file, unchanged since 2017, that was converted from torchvision's"
)


@dataclasses.dataclass(frozen=True)
class Origin:
    """A file on the Hugging Face hub that holds a Gluon network's weights.

    Attributes
    ----------
    repository : str
        ``owner/name`` on the hub.
    file : str
        Path in the repository.
    naming : str
        How its tensors are named: ``mxnet`` for what MXNet exported to ONNX, else a
        family of `icecore.features.weights.torch_names`.
    why : str
        Why these are the network's weights.
    mean, std : tuple of 3 floats
        The normalisation that the file's network was trained with.
    """

    repository: str
    file: str
    naming: str
    why: str
    mean: tuple[float, float, float] = _IMAGENET[0]
    std: tuple[float, float, float] = _IMAGENET[1]


def _timm(name: str, naming: str, why: str, norm=_IMAGENET) -> Origin:
    return Origin(f"timm/{name}", "model.safetensors", naming, why, *norm)


_PORTED_NETWORKS = {
    **{
        f"resnet{depth}_v1{letter}": (f"resnet{depth}{letter.replace('b', '')}", "resnet")
        for depth, letters in {18: "b", 34: "b", 50: "bcds", 101: "bcds", 152: "bcds"}.items()
        for letter in letters
    },
    **{
        name: (name, "resnext")
        for name in ("resnext50_32x4d", "resnext101_32x4d", "resnext101_64x4d")
    },
    **{
        f"se_{name}": (f"se{name}", "resnext")
        for name in ("resnext50_32x4d", "resnext101_32x4d", "resnext101_64x4d")
    },
    "inceptionv3": ("inception_v3", "inception"),
}

ORIGINS: dict[str, Origin] = {
    "gluon:resnet152_v2": Origin(
        "onnxmodelzoo/legacy_models",
        "validated/vision/classification/resnet/model/resnet152-v2-7.onnx",
        "mxnet",
        "the ONNX model zoo exported it from MXNet's zoo in 2018; both Gluon zoos publish one "
        "file, which replaced an older training in that year, and the ONNX zoo does not say which "
        "one it took",
    ),
    **{
        f"gluon:{gluon}": _timm(f"{theirs}.gluon_in1k", naming, _PORTED)
        for gluon, (theirs, naming) in _PORTED_NETWORKS.items()
    },
    "mxnet:inceptionv3": _timm(
        "inception_v3.tv_in1k",
        "inception",
        "MXNet's zoo converted it from torchvision's; the input transform of torchvision is put "
        "into the first layer, so that it takes images as Gluon normalises them",
        _HALVES,
    ),
    **{
        f"gluon:densenet{depth}": _timm(f"densenet{depth}.tv_in1k", "densenet", _TORCHVISION)
        for depth in (121, 161, 169, 201)
    },
}
# One file under one SHA-1 in both zoos.
for _name in ("resnet152_v2", "densenet121", "densenet161", "densenet169", "densenet201"):
    ORIGINS[f"mxnet:{_name}"] = ORIGINS[f"gluon:{_name}"]
