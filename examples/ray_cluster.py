"""Extract on a Ray cluster: one command, one progress, the same rows as one process makes.

    pip install 'icecore[ray]'
    python examples/ray_cluster.py [FOLDER [NETWORK...]]

`address="local"` starts processes on this machine; "auto" takes the cluster that it is in, whose
nodes see images and cache under the same paths.
"""

from __future__ import annotations

import sys
from pathlib import Path

import icecore
from icecore.demo import draw
from icecore.jobs import ClusterOptions

OUT = Path("ray-run")


def main(folder: str | None = None, *networks: str) -> int:
    """Extract with two workers and return how many rows were computed."""
    data = Path(folder) if folder else draw(150, 0, OUT / "data").root
    cluster = ClusterOptions(address="local", least=2, most=2)
    options = icecore.ExtractOptions(cluster=cluster)
    specs = list(networks) or ["gluon:efficientnet_lite0"]
    report = icecore.extract(data, OUT / "cache", specs, options)
    print(f"{report.computed} rows computed, {len(report.failures)} images could not be read")
    return report.computed


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(*sys.argv[1:])
