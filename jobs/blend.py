"""The job `blend`: weights for the average of probabilities."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from .. import ensemble
from ..core.errors import MissingFileError, RunError, enumerate_some
from ..core.files import publish_json
from ..ensemble import BlendOptions, BlendResult

__all__ = ["BlendOutputs", "blend"]

DEFAULTS = BlendOptions()


@dataclasses.dataclass(frozen=True)
class BlendOutputs:
    """Files that a blend leaves, beside the two that it puts into a run's folder.

    Attributes
    ----------
    out : path-like, optional
        ``.json``: the answers with their weights; else the final probabilities.
    form : str, optional
        Format of the final probabilities, see `icecore.ensemble.write_final`; what the
        ending of `out` says without it.
    answer : {"recommended", "clean", "tuned", "average"}
        Which average is final.
    excel : bool
        Put an apostrophe before names in CSVs that a spreadsheet would take for a formula.
    report, markdown, plots : path-like, optional
        Where to write the page, its Markdown form, and a folder of PNG files.
    """

    out: str | os.PathLike | None = None
    form: str | None = None
    answer: str = "recommended"
    report: str | os.PathLike | None = None
    markdown: str | os.PathLike | None = None
    plots: str | os.PathLike | None = None
    excel: bool = False

    def __post_init__(self) -> None:
        if self.answer not in ensemble.ANSWERS:
            raise RunError(
                f"there is no answer '{self.answer}'", f"choose {', '.join(ensemble.ANSWERS)}"
            )
        if self.form is not None and self.form not in ensemble.FORMATS:
            raise RunError(
                f"there is no format '{self.form}'", f"choose {', '.join(ensemble.FORMATS)}"
            )


NO_OUTPUTS = BlendOutputs()


def blend(
    sources: Sequence[str | os.PathLike],
    labels: str | os.PathLike | None = None,
    options: BlendOptions = DEFAULTS,
    outputs: BlendOutputs = NO_OUTPUTS,
) -> tuple[BlendResult, Path | None]:
    """Tune the weights of a run, or of probability files from elsewhere.

    Parameters
    ----------
    sources : sequence of path-like
        The folder of one run, or probability files.
    labels : path-like, optional
        Labels of probability files.
    options : BlendOptions
    outputs : BlendOutputs

    Returns
    -------
    result : BlendResult
    report : Path or None
        Where the HTML page is; for a run in its folder anyway.
    """
    sources = [Path(source) for source in sources]
    _require_blendable(sources, labels)
    if sources[0].is_dir():
        result = ensemble.blend_run(sources[0], options)
        page = sources[0] / "report.html"
        if outputs.report is not None:
            ensemble.write_report(result, outputs.report)
    else:
        result = ensemble.blend_files(sources, labels, options, outputs.report)
        page = outputs.report
    _write(result, outputs)
    return result, page


def _write(result: BlendResult, outputs: BlendOutputs) -> None:
    if outputs.markdown is not None:
        ensemble.write_markdown(result, outputs.markdown)
    if outputs.plots is not None:
        ensemble.write_plots(result, outputs.plots)
    if outputs.out is None:
        return
    suffix = Path(outputs.out).suffix.lower()
    if outputs.form is None and suffix == ".json":
        publish_json(outputs.out, result.to_file())
        return
    tables = ensemble.final_tables(result, outputs.answer)
    form = outputs.form or suffix.removeprefix(".") or "csv"
    ensemble.write_final(outputs.out, tables, form, excel=outputs.excel)


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
