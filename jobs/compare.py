"""The job `compare`: which network, at what cost."""

import os
from collections.abc import Sequence
from pathlib import Path

from .. import ensemble, runs
from ..core.arguments import typed
from ..core.errors import RunError
from ..core.files import publish_json, publish_text
from ..core.outputs import require_writable
from ..ensemble import CompareOptions, Comparison
from ..features import feature_set_cost

DEFAULTS = CompareOptions()
_TEXTS = {
    ".csv": ensemble.comparison_csv,
    ".md": ensemble.comparison_markdown,
    ".tex": ensemble.comparison_latex,
    ".html": ensemble.render_comparison,
}


@typed
def compare(
    sources: Sequence[str | os.PathLike],
    labels: str | os.PathLike | None = None,
    options: CompareOptions = DEFAULTS,
    outs: Sequence[str | os.PathLike] = (),
) -> Comparison:
    """Compare the models of runs: scores with intervals, costs, and what is beyond noise.

    Parameters
    ----------
    sources : sequence of path-like
        Folders of runs of the same data; probability files may be among them.
    labels : path-like, optional
        Labels of probability files, where there is no run; or corrected ones, by which runs are
        judged in place of their own.
    options : CompareOptions
    outs : sequence of path-like
        Files to write; the ending says as what: ``.html``, ``.csv``, ``.md``, ``.tex``, ``.json``.

    Raises
    ------
    MissingFileError, RunError, ProbabilityError
        Something is not there, runs are of different data, or an ending is unknown.
    """
    strange = [str(out) for out in outs if Path(out).suffix.lower() not in (*_TEXTS, ".json")]
    if strange:
        raise RunError(
            f"{strange[0]} has an ending that names no format", f"give {', '.join(_TEXTS)} or .json"
        )
    require_writable(outs, [*sources, labels])
    found = ensemble.compare_runs(sources, labels, _counted(sources), options)
    for out in outs:
        ending = Path(out).suffix.lower()
        if ending == ".json":
            publish_json(out, found.to_json())
        else:
            publish_text(out, _TEXTS[ending](found))
    return found


def _counted(sources: Sequence[str | os.PathLike]) -> dict[str, tuple[int, int | None]]:
    """Return parameters and multiply-adds by the fingerprint of the feature set."""
    found = {}
    for source in sources:
        if not Path(source).is_dir():
            continue
        for entry in runs.open_run(source).backbones:
            cost = feature_set_cost(entry)
            if cost is not None:
                found[entry["fingerprint"]] = (cost.parameters, cost.multiply_adds)
    return found
