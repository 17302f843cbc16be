"""Make rows of the mission's three networks with MXNet, for the tests where there is none.

``python tests/helpers/mission_rows.py`` writes ``tests/fixtures/mission-rows.npz``: the features of
two drawn images from each network with the weights ``random:0``, and the digests of these weights.
It needs MXNet and GluonCV, so Python 3.11.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icecore.core.npz_files import write_npz
from icecore.features.engines.mxnet import MXNetEngine
from icecore.features.engines.proof import random_images
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.registry import source_of
from icecore.features.weights.request import WeightsRequest

__all__ = ["NETWORKS", "PLACE", "RANDOM", "drawn_images", "mxnet_rows"]

PLACE = Path(__file__).parents[1] / "fixtures" / "mission-rows.npz"
NETWORKS = ("resnet152_v2", "inceptionv3", "densenet201")
RANDOM = WeightsRequest(random_seed=0)


def drawn_images(side: int) -> np.ndarray:
    """Draw the two images, uint8 (2, side, side, 3)."""
    return random_images(side, 2, seed=16)


def mxnet_rows(name: str) -> tuple[np.ndarray, str]:
    """Return the features (2, D) of the images, and the digest of the weights."""
    spec = BackboneSpec.parse(f"gluon:{name}")
    network = source_of(spec).load_gluon(spec, RANDOM)
    rows = MXNetEngine(network).run(drawn_images(network.record.resolution))
    return rows, network.record.weights_digest


if __name__ == "__main__":
    arrays = {}
    for network in NETWORKS:
        arrays[network], digest = mxnet_rows(network)
        arrays[f"{network}.weights"] = np.array(digest)
    write_npz(PLACE, arrays)
