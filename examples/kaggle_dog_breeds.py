"""A Kaggle contest from its folder to an accepted file, as Dog Breed Identification has it.

    python examples/kaggle_dog_breeds.py [FOLDER [NETWORK...]]

FOLDER has labels.csv, train/, test/ and sample_submission.csv. Without it a small contest is drawn.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import icecore
from icecore.demo import draw

NETWORKS = ["gluon:efficientnet_lite0", "gluon:efficientnet_lite2"]
OUT = Path("kaggle-run")


def main(folder: str | None = None, *networks: str) -> Path:
    """Extract, train, blend, and write OUT/submission.csv."""
    data = Path(folder) if folder else draw_contest(OUT / "dogs")
    icecore.extract(data, OUT / "cache", list(networks) or NETWORKS)
    options = icecore.TrainOptions(overwrite=True)
    icecore.train(OUT / "cache", data, OUT / "run", options)
    # The sample in the folder says which rows and columns the contest wants.
    submission = OUT / "submission.csv"
    blend = icecore.blend([OUT / "run"], outputs=icecore.BlendOutputs(out=submission))
    print(icecore.open_run(OUT / "run").leaderboard())
    print(f"recommended: {blend.result.tasks[0].recommendation}")
    print(f"hand in {submission}; look at {OUT / 'run' / 'report.html'}")
    return submission


def draw_contest(folder: Path, images: int = 120) -> Path:
    """Draw garments, in place of dogs, into the layout of the contest."""
    drawn = draw(images, 0, OUT / "drawn").root
    rows = list(csv.reader((drawn / "Annotations" / "label.csv").open()))
    rows = [row for row in rows if row[1].startswith("sleeve")]
    for name in ("train", "test"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines, questions = [["id", "breed"]], []
    for number, (path, _, letters) in enumerate(rows):
        part = "test" if number % 4 == 0 else "train"
        shutil.copy(drawn / path, folder / part / f"{number:04d}.jpg")
        breed = f"breed {letters.index('y')}"
        if part == "train":
            lines.append([f"{number:04d}", breed])
        else:
            questions.append(f"{number:04d}")
    breeds = sorted({breed for _, breed in lines[1:]})
    sample = [["id", *breeds], *([name, *[1 / len(breeds)] * len(breeds)] for name in questions)]
    for name, table in (("labels.csv", lines), ("sample_submission.csv", sample)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(table)
    return folder


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(*sys.argv[1:])
