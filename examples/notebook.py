# %% [markdown]
# # Features once, heads in seconds
#
# A notebook as a plain file: `jupytext --to ipynb notebook.py`, or open it in an editor that
# knows cells (`# %%`). Set `PHOTOS` to a folder of class folders; without one, garments are drawn.

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
extracted.failures

# %% [markdown]
# The short step. Every row is predicted by heads that did not see it.

# %%
icecore.train(OUT / "cache", PHOTOS, OUT / "run", icecore.TrainOptions(overwrite=True))
run = icecore.open_run(OUT / "run")
run.leaderboard()

# %% [markdown]
# The rows that the best model gets wrong, the surest first: wrong labels are among them.

# %%
predictions = run.predictions()
wrong = [row for row in predictions.rows() if row[2] and row[2] != row[3]]
wrong.sort(key=lambda row: -max(row[4:]))
[(identity, label, predicted) for identity, _, label, predicted, *_ in wrong[:5]]

# %% [markdown]
# A model of your own on the same features, scored by scikit-learn.

# %%
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

task = next(iter(run.tasks))
X, y, ids = icecore.load_features(OUT / "cache", PHOTOS, task)
X, y = X[y != ""], y[y != ""]
own = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
cross_val_score(own, X, y, cv=3, scoring="accuracy").mean()

# %% [markdown]
# Blend, and look at the report.

# %%
blend = icecore.blend([OUT / "run"]).result
{task.task: (task.recommendation, task.weights) for task in blend.tasks}
