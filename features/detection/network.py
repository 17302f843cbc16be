"""Detectors as ONNX files: read, tried in a child process, and run one image at a time.

An image is made as large as the network takes it, its proportions kept, with grey at the right and
at the bottom, as YOLO's are. Networks of any size get 640 pixels (`input_size` in a JSON record
beside the file says otherwise). Pixels are 0 to 1, or as the record's mean and std say; DETR's
own are those of ImageNet.
"""

import ast
import difflib
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...core.child import ChildError, Limits, answer_parent
from ...core.errors import BackboneError, IcecoreError, enumerate_some, first_line
from ..engines.onnxruntime import providers_for
from ..graphs.onnx_graph import drop_weights_from_inputs, load_onnx
from ..graphs.pixel_input import compute_in_float32, puts_channels_first
from ..graphs.questions import ask_once
from ..graphs.reading import read_graph
from ..graphs.session import load_onnxruntime, open_session
from ..graphs.walk import find_all
from ..images.fit import resize
from ..weights.request import WeightsRequest
from .outputs import Objects, family_of, form_of, read_objects
from .record import LARGEST_TEXT, DetectorRecord, are_texts, read_detector_record

SIDE, LARGEST_SIDE, GREY = 640, 4096, 114
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# The first run of a stranger's graph, and what it may take.
LIMITS = Limits(processor_seconds=60, seconds=180.0, memory_bytes=6 * 2**30)
_MOST_CLASSES = 100_000
# How the first name of torchvision's classes is written: objects have the numbers behind it.
_NO_OBJECT = frozenset("background bg na nothing none unlabeled unlabelled".split())


class Detector:
    """A network that finds objects.

    Attributes
    ----------
    name : str
    classes : tuple of str
        Empty where neither the file nor its record names them.
    family : str
        See `family_of`.
    side : tuple of 2 ints
        Height and width of what the network is given.

    Raises
    ------
    MissingFileError, BackboneError
        There is no such file, it is no detector that is known, or it takes too much to run.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        onnx, file = load_onnx(), read_graph(path)
        model, self.name = file.model, f"onnx:{path}"
        self._record_file = path.with_suffix(".json")
        record = read_detector_record(self._record_file)
        drop_weights_from_inputs(model)
        self.side, self._shape, self._dtype = self._input(onnx, model, record)
        compute_in_float32(onnx, model)
        loops = {f.message.op_type for f in find_all(model, "NodeProto")} & {"Loop", "Scan"}
        if loops:
            raise BackboneError(
                f"{self.name} has {enumerate_some(sorted(loops))}: what it takes is not bounded",
                "export it without loops, or take another detector",
            )
        self.classes = record.classes or tuple(_names(file.metadata))
        content = model.SerializeToString()
        outputs = self._try(content)
        self.family = family_of(outputs, len(self.classes))
        self._form = form_of(self.family, outputs)
        self._require_whole(record)
        usual = IMAGENET if self.family.startswith("detr") else ((0.0,) * 3, (1.0,) * 3)
        self._mean = np.array(record.mean or usual[0], np.float32)
        self._std = np.array(record.std or usual[1], np.float32)
        self._order = -1 if record.turned else 1
        providers = providers_for(device, load_onnxruntime().get_available_providers())
        self._session = open_session(content, providers)

    def run(self, image: np.ndarray) -> Objects:
        """Find objects in an RGB image, uint8 (H, W, 3); boxes are in its pixels."""
        (height, width), (rows, columns) = image.shape[:2], self.side
        scale = min(rows / height, columns / width)
        inner = max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
        square = np.full((rows, columns, 3), GREY, np.uint8)
        square[: inner[0], : inner[1]] = resize(image, *inner, "bilinear")[..., :: self._order]
        if self._dtype == np.uint8:
            pixels = square
        else:
            pixels = (square.astype(np.float32) / 255 - self._mean) / self._std
        placed = pixels.transpose(2, 0, 1) if self._shape[-3] == 3 else pixels
        batch: np.ndarray = np.ascontiguousarray(placed, self._dtype).reshape(self._shape)
        try:
            outputs = self._session.run(None, {self._session.get_inputs()[0].name: batch})
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise BackboneError(
                f"{self.name} fails: {first_line(error)}", "export it again"
            ) from error
        if form_of(self.family, _described(self._session, outputs)) != self._form:
            raise BackboneError(
                f"{self.name} answers one image in another form than the next",
                "export it again, or take another detector",
            )
        try:
            found = read_objects(self.family, outputs, (columns, rows))
        except BackboneError as error:
            raise BackboneError(f"{self.name}: {error.message}", error.hint) from error
        back = np.tile([width / inner[1], height / inner[0]], 2)
        return Objects(found.ids, found.scores, found.boxes * back)

    def index_of(self, name: str) -> int:
        """Return the number of a class that is given by its name, or by its number.

        Raises
        ------
        BackboneError
            The detector does not know it; near names are told.
        """
        if name in self.classes:
            return self.classes.index(name)
        if re.fullmatch(r"\d{1,6}", name) and int(name) < (len(self.classes) or _MOST_CLASSES):
            return int(name)
        if not self.classes:
            raise BackboneError(
                f"{self.name} does not say the names of its classes, so '{name}' is not known",
                f"give the number of the class (--detect-class 1), or write the names into "
                f'{self._record_file}: {{"classes": [{self._first_names}, ...]}}',
            )
        near = difflib.get_close_matches(name, self.classes, n=3, cutoff=0.4)
        raise BackboneError(
            f"the detector {self.name} does not know the class '{name}'",
            (f"did you mean {', '.join(near)}? " if near else "")
            + f"it knows {enumerate_some(self.classes, most=100)}",
        )

    @property
    def _first_names(self) -> str:
        return '"__background__", "person"' if self.family == "torchvision" else '"person"'

    def _require_whole(self, record: DetectorRecord) -> None:
        """Refuse a record from which another class, or other pixels, would be taken."""
        if self.family == "torchvision" and record.classes:
            first = re.sub(r"[\W_]", "", record.classes[0]).lower()
            if first and first not in _NO_OBJECT:
                raise BackboneError(
                    f"{self._record_file}: classes begin with '{record.classes[0]}', and class 0 "
                    "of torchvision's detectors is the background",
                    f'write {{"classes": [{self._first_names}, ...]}}; where the numbers of this '
                    "detector do begin with an object, leave the names out and give the number "
                    "(--detect-class 0)",
                )
        if self.family == "detr-sigmoid" and None in (record.mean, record.std):
            raise BackboneError(
                f"{self.name}: detectors with as many logits as classes differ in the pixels that "
                f"they take, and {self._record_file} does not say which",
                'for RT-DETR write "mean": [0, 0, 0], "std": [1, 1, 1] there; for Deformable and '
                f'Conditional DETR "mean": {[*IMAGENET[0]]}, "std": {[*IMAGENET[1]]}',
            )

    def _input(
        self, onnx, model, record: DetectorRecord
    ) -> tuple[tuple[int, int], tuple[int, ...], type]:
        """Return height and width, shape and type of what the network takes."""
        inputs = model.graph.input
        kind = inputs[0].type.tensor_type if inputs else None
        shape = [one.dim_value for one in kind.shape.dim] if kind else []
        numbers = onnx.TensorProto.DataType.Name(kind.elem_type) if kind else "nothing"
        last = len(shape) in (3, 4) and shape[-3] != 3 and shape[-1] in (0, 3)
        # Where all extents are open, what the graph does with its images shows where channels are.
        last = last and (shape[-1] == 3 or (len(shape) == 4 and puts_channels_first(model.graph)))
        fits = len(inputs) == 1 and len(shape) in (3, 4) and (last or shape[-3] in (0, 3))
        fits &= numbers in ("FLOAT", "FLOAT16", "UINT8") and (len(shape) == 3 or shape[0] in (0, 1))
        if not fits:
            found = ", ".join(one.name for one in inputs) or "none"
            raise BackboneError(
                f"{self.name} takes {numbers} of shape {shape} (0 stands for any; inputs: {found})",
                "a detector takes one image: float32, float16 or uint8, (1, 3, H, W) or "
                "(1, H, W, 3), with or without the 1",
            )
        rows, columns = record.input_size or (SIDE, SIDE)
        high, wide = shape[-3:-1] if last else shape[-2:]
        side = high or rows, wide or columns
        if record.input_size and side != record.input_size:
            raise BackboneError(
                f"{self._record_file}: input_size is {[3, *record.input_size]}, and the graph "
                f"takes images of {side[0]} x {side[1]} pixels",
                "correct or remove it",
            )
        if not all(1 <= one <= LARGEST_SIDE for one in side):
            raise BackboneError(
                f"{self.name} takes images of {side[0]} x {side[1]} pixels",
                f"1 to {LARGEST_SIDE} a side can be given",
            )
        given = (1, *side, 3) if last else (1, 3, *side)
        return side, given[-len(shape) :], np.uint8 if numbers == "UINT8" else np.float32

    def _try(self, content: bytes) -> list[tuple[str, str, tuple[int, ...]]]:
        """Run it once in a child process; return name, type and shape of each output."""
        words = [np.dtype(self._dtype).name, *map(str, self._shape)]
        try:
            answer = ask_once(__spec__.name, content, words, LIMITS)
        except ChildError as error:
            raise BackboneError(
                f"{self.name}: one image {error}", "take another detector, or export it again"
            ) from error
        return [(name, kind, tuple(shape)) for name, kind, shape in answer["outputs"]]


def load_detector(text: str, request: WeightsRequest, device: str = "cpu") -> Detector:
    """Load a detector from ``onnx:FILE``; the file may lie in the request's folder.

    Raises
    ------
    MissingFileError, BackboneError
    """
    match = re.fullmatch(r"onnx:(.+)", text.strip())
    if not match:
        raise BackboneError(f"'{text}' is no detector", "write onnx:FILE")
    return Detector(request.located(Path(match[1])), device)


def _names(metadata: Mapping[str, str]) -> list[str]:
    """Return the names that Ultralytics writes into a file: ``{0: 'person', ...}``."""
    text = metadata.get("names", "")
    if not 0 < len(text) < LARGEST_TEXT:
        return []
    try:
        found = ast.literal_eval(text)  # constants alone; nothing runs
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return []
    if isinstance(found, dict) and set(found) == set(range(len(found))):
        found = [found[number] for number in range(len(found))]
    return found if are_texts(found) else []


def _answer(path: str, dtype: str, *shape: str) -> dict:
    image = np.random.default_rng(0).integers(0, 255, [int(one) for one in shape])
    image = image.astype(dtype) if dtype == "uint8" else (image / 255).astype(dtype)
    try:
        session = open_session(path)
        outputs = session.run(None, {session.get_inputs()[0].name: image})
    except IcecoreError:
        raise
    except Exception as error:  # as above
        return {"failure": f"cannot be run by ONNX Runtime ({first_line(error)})"}
    return {"outputs": _described(session, outputs)}


def _described(session, outputs) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, type and shape of each output, of many the first."""
    named = zip(session.get_outputs()[:8], outputs)
    return [(one.name[:100], np.asarray(o).dtype.name, np.shape(o)[:8]) for one, o in named]


if __name__ == "__main__":
    answer_parent(sys.argv[1:], _answer)
