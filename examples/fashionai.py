"""FashionAI's archive to an accepted file: mirrored views, a budget of networks, all attributes.

    python examples/fashionai.py [FOLDER [NETWORK...]]

FOLDER has the contest's unpacked archives. Without it a small archive is drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import icecore
from icecore.demo import draw

NETWORKS = [f"gluon:efficientnet_lite{number}" for number in (0, 1, 2)]
OUT = Path("fashionai-run")


def main(folder: str | None = None, *networks: str) -> Path:
    """Extract, train, blend within the budget, and write OUT/submission.csv."""
    data = Path(folder) if folder else draw(150, 0, OUT / "archive").root
    # The contest's best took "eighteen": nine crops and their mirror images, nine times the time.
    views = icecore.ExtractOptions(views="flip")
    icecore.extract(data, OUT / "cache", list(networks) or NETWORKS, views)
    # Heads on each network alone, so that the budget has something to choose from.
    options = icecore.TrainOptions(features=["each"], overwrite=True)
    icecore.train(OUT / "cache", data, OUT / "run", options)
    budget = icecore.BlendOptions(backbones_max=2, max_size="600MB")
    outputs = icecore.BlendOutputs(out=OUT / "submission.csv")
    blend = icecore.blend([OUT / "run"], options=budget, outputs=outputs)
    for task in blend.result.tasks:
        score = task.scores["recommended"]["tuning"]
        used = ", ".join(name for name, weight in task.weights.items() if weight)
        print(f"{task.task}: mAP {score['map']:.3f} out of fold, of {used}")
    print(f"hand in {outputs.out}; look at {OUT / 'run' / 'report.html'}")
    return outputs.out


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(*sys.argv[1:])
