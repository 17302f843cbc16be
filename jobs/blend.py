"""The job `blend`: weights for the average of probabilities."""

from __future__ import annotations

import os
from pathlib import Path

from .. import ensemble
from ..core.errors import MissingFileError, RunError, enumerate_some
from ..core.files import publish_json

__all__ = ["blend"]


def blend(
    sources,
    labels: str | os.PathLike | None = None,
    *,
    out: str | os.PathLike | None = None,
    form: str | None = None,
    answer: str = "tuned",
    report: str | os.PathLike | None = None,
    markdown: str | os.PathLike | None = None,
    plots: str | os.PathLike | None = None,
    align: bool = False,
    mend: str = "refuse",
    max_size: str | float | None = None,
    **options,
):
    """Tune the weights of a run, or of probability files from elsewhere.

    Parameters
    ----------
    sources : sequence of path-like
        The folder of one run, or probability files.
    labels : path-like, optional
        Labels of probability files.
    out : path-like, optional
        ``.json``: the answer; else the final probabilities, in the format `form`.
    form, answer : str
        Of `icecore.ensemble.write_final` and `final_tables`.
    report, markdown, plots : path-like, optional
        Where to write the page, its Markdown form, and a folder of PNG files. For a run
        the page is in the run's folder anyway.
    align, mend
        Of `icecore.ensemble.blend_files`.
    max_size : str or float, optional
        Budget in bytes, or as ``600MB``.
    **options
        Of `icecore.ensemble.BlendOptions`.

    Returns
    -------
    result : BlendResult
    report : Path or None
        Where the HTML page is.
    """
    sources = [Path(source) for source in sources]
    if isinstance(max_size, str):
        max_size = ensemble.parse_size(max_size)
    options["max_size"] = max_size
    _require_blendable(sources, labels)
    if sources[0].is_dir():
        result = ensemble.blend_run(sources[0], **options)
        page = sources[0] / "report.html"
        if report is not None:
            ensemble.write_report(result, report)
    else:
        result = ensemble.blend_files(
            sources, labels, align=align, mend=mend, report=report, **options
        )
        page = report
    if markdown is not None:
        ensemble.write_markdown(result, markdown)
    if plots is not None:
        ensemble.write_plots(result, plots)
    if out is not None:
        suffix = Path(out).suffix.lower()
        if form is None and suffix == ".json":
            publish_json(out, result.to_file())
        else:
            tables = ensemble.final_tables(result, answer)
            ensemble.write_final(out, tables, form or suffix.removeprefix(".") or "csv")
    return result, page


def _require_blendable(sources: list[Path], labels) -> None:
    folders = [source for source in sources if source.is_dir()]
    if folders and (len(sources) > 1 or labels is not None):
        others = [str(source) for source in sources if source != folders[0]] or ["--labels"]
        raise RunError(
            f"{folders[0]} is a run, and there is more: {enumerate_some(others)}",
            "blend one run, or probability files with --labels",
        )
    absent = [str(source) for source in sources if not source.exists()]
    if absent:
        raise MissingFileError(
            f"{enumerate_some(absent)}: not there", "give a run's folder, or probability files"
        )
    if not folders and labels is None:
        raise RunError(
            f"{enumerate_some(sources)}: probability files, but no labels to tune on",
            "add --labels: a CSV with id,label, or the data set itself",
        )
