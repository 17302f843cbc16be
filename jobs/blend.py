"""The job `blend`: weights for the average of probabilities."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from .. import ensemble
from ..core.arguments import require_types, typed
from ..core.errors import RunError
from ..core.files import publish_json
from ..core.hardware import require_working_memory
from ..core.outputs import require_kind, require_writable
from ..core.summary import summary
from ..ensemble import AnswerOptions, BlendOptions, BlendResult, WrittenAnswers

DEFAULTS = BlendOptions()


@dataclasses.dataclass(frozen=True)
class BlendOutputs:
    """Files that a blend leaves.

    Attributes
    ----------
    out : path-like, optional
        ``.json``: the answers with their weights; else the final probabilities.
    answer : {"recommended", "clean", "given", "tuned", "average"}
        Which average is final, and which one predictions take.
    save : bool
        Keep the answers for `predict` and `bundle`: ``blend.json`` and ``report.html`` in the
        folder of the first run. Files alone have no such folder.
    report, markdown : path-like, optional
        Where to write the page and its Markdown form.
    form, sample, incomplete, excel
        How the final probabilities are written, see `icecore.ensemble.AnswerOptions`.

    Raises
    ------
    RunError, ProbabilityError
        There is no such answer, form, or way to fill in rows.
    """

    out: str | os.PathLike | None = None
    answer: str = "recommended"
    save: bool = True
    report: str | os.PathLike | None = None
    markdown: str | os.PathLike | None = None
    form: str | None = None
    sample: str | os.PathLike | None = None
    incomplete: str | None = None
    excel: bool = False

    def __post_init__(self) -> None:
        require_types(self)
        ensemble.require_answer(self.answer)
        _ = self.written
        if self.out is None and (self.form or self.sample or self.incomplete or self.excel):
            raise RunError(
                "how the final probabilities are written was said, but not where",
                "name the file: -o FILE",
            )

    @property
    def written(self) -> AnswerOptions:
        """How the final probabilities are written."""
        return AnswerOptions(self.form, self.sample, self.incomplete, self.excel)

    def require_room_for(self, tasks: Sequence[str]) -> None:
        """Raise `ProbabilityError` if the file of answers cannot hold those of these tasks."""
        if self.out is not None:
            ensemble.require_form_fits(self.out, tasks, self.form, self.excel)


NO_OUTPUTS = BlendOutputs()


@dataclasses.dataclass(frozen=True)
class BlendReport:
    """What `blend` did.

    Attributes
    ----------
    result : BlendResult
    files : tuple of pathlib.Path
        Every file that was written.
    written : WrittenAnswers or None
        What the final probabilities are, where they were written.
    """

    result: BlendResult
    files: tuple[Path, ...]
    written: WrittenAnswers | None

    __repr__ = summary


@typed
def blend(
    sources: Sequence[str | os.PathLike],
    labels: str | os.PathLike | None = None,
    options: BlendOptions = DEFAULTS,
    outputs: BlendOutputs = NO_OUTPUTS,
) -> BlendReport:
    """Tune the weights of runs, and of probability files from elsewhere.

    Parameters
    ----------
    sources : sequence of path-like
        Folders of runs and probability files; rows are joined by id.
    labels : path-like, optional
        Labels of probability files; runs have their own.
    options : BlendOptions
    outputs : BlendOutputs

    Raises
    ------
    MissingFileError, RunError, ProbabilityError
        Sources do not belong together, or the answers do not fit what a contest asks for.
        Nothing is written then.
    """
    require_working_memory()
    outs = (outputs.out, outputs.report, outputs.markdown)
    require_writable(outs, [*sources, labels, outputs.sample, options.costs])
    require_kind(outputs.report, ".html", ".htm")
    require_kind(outputs.markdown, ".md")
    paths = [Path(source) for source in sources]
    if outputs.save:
        _require_place(paths)
    check = outputs.require_room_for
    result = ensemble.blend_sources(paths, labels, options, check, outputs.sample)
    for task in result.tasks:
        # What a page would refuse is to be found before anything is written.
        ensemble.groups_view(result.run, task)
    # The answers first: what they do not fit is to leave nothing behind.
    files, written = _write_out(result, outputs)
    if outputs.save and result.runs:
        files += ensemble.save_blend(result, outputs.answer)
    if outputs.report is not None:
        ensemble.write_report(result, outputs.report)
        files.append(Path(outputs.report))
    if outputs.markdown is not None:
        ensemble.write_markdown(result, outputs.markdown)
        files.append(Path(outputs.markdown))
    return BlendReport(result, tuple(files), written)


def _require_place(sources: Sequence[Path]) -> None:
    """Raise `RunError` if the first run may not be written to, before anything is computed."""
    run = next((path for path in sources if path.is_dir()), None)
    if run is not None and not os.access(run, os.W_OK):
        raise RunError(
            f"the blend is kept in {run}, which may not be written to",
            "keep nothing there, with --no-save (save=False), or blend a copy of the run",
        )


def _write_out(
    result: BlendResult, outputs: BlendOutputs
) -> tuple[list[Path], WrittenAnswers | None]:
    if outputs.out is None:
        return [], None
    out = Path(outputs.out)
    if outputs.form is None and out.suffix.lower() == ".json":
        publish_json(out, result.to_file(outputs.answer))
        return [out], None
    answers = ensemble.final_answers(result, outputs.answer)
    return [out], ensemble.write_answers(out, answers, outputs.written)
