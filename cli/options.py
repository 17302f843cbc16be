"""Options that several commands have."""

import os
from pathlib import Path

import click

from ..core.errors import StoreError
from ..core.stores import is_url, require_path_or_url
from .idle import refuse_idle


class _Local(click.Path):
    """A path, and no URL: it would be made a folder of that name."""

    def convert(self, value, param, ctx):
        """Refuse a URL, and what is no path."""
        _require_path(self, value, param, ctx)
        if is_url(value):
            self.fail(
                f"{value} is a URL, and a path is needed here: copy it to this machine first.",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


class _Data(click.Path):
    """The path of data, or the URL of data in a store, which is no path."""

    def convert(self, value, param, ctx):
        """Leave a URL as it is; refuse what is no path."""
        _require_path(self, value, param, ctx)
        return value if is_url(value) else super().convert(value, param, ctx)


def _require_path(kind, value, param, ctx) -> None:
    # From icecore.toml anything may come.
    if not isinstance(value, str | os.PathLike) or "\0" in os.fspath(value):
        kind.fail(f"{value!r} is not a path.", param, ctx)
    if not os.fspath(value):
        # A path of no characters would be the folder that the command is run in.
        kind.fail("the path is empty, as of a variable of the shell that is not set.", param, ctx)
    log = ctx.find_root().params.get("log") if ctx is not None else None
    if log is not None and os.path.realpath(value) == os.path.realpath(log):
        kind.fail(f"{value} is the log of this command: name another file.", param, ctx)
    try:
        require_path_or_url(value)
    except StoreError as error:
        kind.fail(f"{error.message}: {error.hint}.", param, ctx)
    if value == "-":
        kind.fail("- is no stream here: name a file (./- if that is its name).", param, ctx)


A_PATH, DATA = _Local(path_type=Path), _Data(path_type=Path)
# What NumPy and scikit-learn take, with room for the seeds that are made of one.
SEED = click.IntRange(0, 2**31 - 1)
A_FOLDER_THERE = _Local(path_type=Path, exists=True, file_okay=False)

answer_option = click.option(
    "--answer",
    type=click.Choice(["recommended", "clean", "given", "tuned", "average"]),
    help="Use what the blend recommends; the same for images whose labels will be right (clean), "
    "or wrong as often as those learnt from (given); the tuned weights; or the plain average "
    "[default: the answer that the blend was saved with].",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def _with_options(command, options: list):
    for option in reversed(options):
        command = option(command)
    return command


def table_options(command):
    """Add the options that say how a CSV of samples is read."""
    options = [
        click.option(
            "--path-column",
            default="path",
            metavar="NAME",
            help="Take the paths from this column of a CSV.",
        ),
        click.option(
            "--label-column",
            "label_columns",
            multiple=True,
            metavar="NAME",
            help="Take the labels from this column of a CSV. Several columns, with the option "
            "repeated, are several tasks of their names; one is the task 'label' [default: label].",
        ),
        click.option(
            "--skip-bad-rows", is_flag=True, help="Leave faulty lines of a CSV out, and name them."
        ),
    ]
    return _with_options(command, options)


def take_data(data: Path, options: dict, labels_required: bool = False):
    """Take the options of `table_options` out of a command's, and read `data` if one is given."""
    names = ("path_column", "label_columns", "skip_bad_rows")
    from ..manifest import TableOptions, read

    table = TableOptions(**{name: options.pop(name) for name in names})
    if table == TableOptions():
        return data
    return read(data, labels_required=labels_required, table=table)


def written_options(command):
    """Add the options that say how final probabilities are written."""
    options = [
        click.option(
            "--format",
            "form",
            type=click.Choice(["csv", "npz", "h5", "parquet", "kaggle", "fashionai"]),
            help="Write the answers in this format [default: that of the contest's sheet, if there "
            "is one, else what the ending says].",
        ),
        click.option(
            "--sample",
            type=A_PATH,
            help="Take rows, ids, order and columns from this sample_submission.csv or "
            "question.csv [default: the one in the folder of the data, if there is one].",
        ),
        click.option(
            "--incomplete",
            type=click.Choice(["prior", "empty", "refuse"]),
            help="Fill in rows of missing or unreadable images with the class shares of the "
            "training images, leave them empty, or refuse to write [default: prior in the "
            "formats of contests, else empty].",
        ),
        click.option(
            "--excel",
            is_flag=True,
            help="Put an apostrophe before names in a CSV that a spreadsheet would take for a "
            "formula.",
        ),
    ]
    return _with_options(command, options)


quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")


def box_options(command):
    """Add the options that say which part of an image counts."""
    options = [
        click.option(
            "--boxes",
            type=A_PATH,
            help="Cut each image to its box in this CSV (path,x0,y0,x1,y1), or to the box that the "
            "region in this folder, written by 'icecore regions fit', finds in it.",
        ),
        click.option(
            "--detector",
            metavar="onnx:FILE",
            help="Find the boxes that --boxes lacks with this detector, and add them to it.",
        ),
        click.option(
            "--detect-class",
            help="Look for objects of this class, by its name or its number [default: person].",
        ),
        click.option(
            "--detect-box",
            type=click.Choice(["largest", "confident"]),
            help="Take the largest or the most confident of several boxes [default: largest].",
        ),
        click.option(
            "--detect-threshold",
            type=float,
            help="Ignore boxes with a lower score [default: 0.5].",
        ),
    ]
    return _with_options(command, options)


def take_detector(options: dict):
    """Take the detector's options out of a command's."""
    names = {
        "--detect-class": "class_name",
        "--detect-box": "rule",
        "--detect-threshold": "threshold",
    }
    given = {name: options.pop(name.strip("-").replace("-", "_")) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    detector = options.pop("detector")
    if detector is None:
        refuse_idle(dict.fromkeys(names, "needs --detector"))
        return None
    from ..jobs import DetectorOptions

    return DetectorOptions(detector, **{names[name]: value for name, value in given.items()})


def engine_options(command):
    """Add the options that say how backbones run."""
    options = [
        click.option(
            "--engine",
            type=click.Choice(["auto", "mxnet", "onnxruntime", "openvino", "tensorrt", "torch"]),
            default="auto",
            help="Run the backbones on this engine; auto takes the fastest that is installed.",
        ),
        click.option(
            "--device",
            default="cpu",
            help="Compute on cpu, on NVIDIA's GPUs (cuda:0[,cuda:1,...]) or on Apple's (mps).",
        ),
        click.option(
            "--accept-error",
            type=float,
            metavar="SHARE",
            help="Accept an engine whose features differ by up to this share from a plain float32 "
            "run [default: 1e-4 in f32, 0.02 in tf32, bf16 and fp16].",
        ),
        click.option(
            "--batch-size",
            type=int,
            help="Compute this many images at once [default: 16, and 64 on GPUs].",
        ),
        click.option(
            "--workers",
            type=int,
            help="Decode in this many threads [default: one for each processor].",
        ),
        click.option(
            "--weights-dir",
            type=A_PATH,
            help="Look for weights and ONNX files in this folder first.",
        ),
    ]
    return _with_options(command, options)
