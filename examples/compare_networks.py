"""Which network is worth its cost on your images? One head on each, differences tested.

    python examples/compare_networks.py [FOLDER [NETWORK...]]

FOLDER is read as by `icecore manifest`. Without it a small data set is drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import icecore
from icecore.demo import draw

NETWORKS = [f"gluon:efficientnet_lite{number}" for number in (0, 1, 2)]
OUT = Path("compare-run")


def main(folder: str | None = None, *networks: str) -> Path:
    """Extract, train logistic regression on each network, write OUT/compare.html."""
    data = Path(folder) if folder else draw(150, 0, OUT / "data").root
    icecore.extract(data, OUT / "cache", list(networks) or NETWORKS)
    # The same plain head everywhere: what differs is the network.
    options = icecore.TrainOptions(features=["each"], heads=["logistic"], overwrite=True)
    icecore.train(OUT / "cache", data, OUT / "run", options)
    page = OUT / "compare.html"
    compared = icecore.compare([OUT / "run"], outs=[page])
    for task in compared.tasks:
        print(task.task)
        for line in task.lines:
            value, low, high = line.scores[compared.metric]
            print(f"  {line.model}: {value:.4f} [{low:.4f}, {high:.4f}]{' *' * line.pareto}")
    print(f"* best for its cost; look at {page}")
    return page


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(*sys.argv[1:])
