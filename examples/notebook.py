# %% [markdown]
# # A notebook: features once, heads in seconds
#
# A notebook as a plain file: `jupytext --to ipynb notebook.py`, or open it in an editor that
# knows cells (`# %%`). Set `PHOTOS` to a folder of class folders; without one, garments are
# drawn. The plots need matplotlib.

# %%
import os
from pathlib import Path

import icecore
from icecore.demo import draw

OUT = Path("notebook-run")
PHOTOS = os.environ.get("PHOTOS") or draw(150, 0, OUT / "photos").root
NETWORKS = os.environ.get("NETWORKS", "gluon:efficientnet_lite0").split()

# %% [markdown]
# The long step. What is in the cache is never computed again, so run it as often as you like.

# %%
with icecore.extract_bar() as bar:
    extracted = icecore.extract(PHOTOS, OUT / "cache", NETWORKS, progress=bar)
[(failure.id, failure.reason) for failure in extracted.failures]

# %% [markdown]
# The short step. Every row is predicted by heads that did not see it.

# %%
icecore.train(OUT / "cache", PHOTOS, OUT / "run", icecore.TrainOptions(overwrite=True))
run = icecore.open_run(OUT / "run")
run.leaderboard()

# %% [markdown]
# The rows that the best model gets wrong, the surest first: wrong labels are among them.

# %%
import matplotlib.pyplot as plt  # noqa: E402
from PIL import Image  # noqa: E402

paths = {sample.id: sample.path for sample in icecore.read_manifest(PHOTOS).samples}
predictions = run.predictions()
wrong = [row for row in predictions.rows() if row[2] not in ("", row[3])]
wrong.sort(key=lambda row: -max(row[4:]))
figure, places = plt.subplots(1, 5, figsize=(10, 2.6), subplot_kw={"xticks": [], "yticks": []})
for place, (identity, _, label, predicted, *table) in zip(places, wrong):
    place.imshow(Image.open(paths[identity]))
    place.set_title(f"{label}?\n{predicted}: {max(table):.0%}", fontsize=9)

# %% [markdown]
# Which classes are taken for which.

# %%
from sklearn.metrics import ConfusionMatrixDisplay  # noqa: E402

_, _, labels, guesses, *_ = zip(*[row for row in predictions.rows() if row[2]])
display = ConfusionMatrixDisplay.from_predictions(labels, guesses, xticks_rotation="vertical")

# %% [markdown]
# A model of your own on the same features, scored by scikit-learn.

# %%
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

X, y, ids = icecore.load_features(OUT / "cache", PHOTOS, next(iter(run.tasks)))
X, y = X[y != ""], y[y != ""]
own = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
cross_val_score(own, X, y, cv=3).mean()

# %% [markdown]
# Blend, and look at the report.

# %%
blend = icecore.blend([OUT / "run"]).result
{task.task: (task.recommendation, task.weights) for task in blend.tasks}
