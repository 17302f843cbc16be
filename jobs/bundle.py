"""The job `bundle`: a trained run in a folder of its own."""

import dataclasses
import json
import os

import numpy as np

from .. import __version__, features, heads
from ..core.arguments import typed
from ..core.csv_files import csv_lines
from ..core.errors import ProofError, RunError, counted, enumerate_some, first_line
from ..core.files import publish_bytes, publish_text
from ..core.folders import scratch_folder
from ..core.outputs import require_kind, require_writable
from ..ensemble import TaskWeights
from ..features import FeatureSetRecord
from ..heads import GroupedHead, Head, KernelHead, LogisticHead, MLPClassifier, RidgeHead
from .card import model_card
from .predict import PredictOptions, predict
from .trained import Trained, made_how, open_trained, require_same, spec_text

# Features are rounded to half precision, and a last bit may fall on the other side.
TOLERANCE = 1e-3


@typed
def bundle(
    run: str | os.PathLike,
    out: str | os.PathLike,
    *,
    answer: str | None = None,
    weights_dir: str | os.PathLike | None = None,
    card: str | os.PathLike | None = None,
) -> dict:
    """Write a run as one ONNX graph: squares in, the probabilities of each task out.

    Parameters
    ----------
    run : path-like
        Folder that `train` wrote; with ``blend.json`` its weights are used, else the
        plain average. If the blend joins several runs, all of them go in.
    out : path-like
        ONNX file.
    answer : {"recommended", "clean", "given", "tuned", "average"}, optional
        As for `predict`.
    weights_dir : path-like, optional
        Where the backbones' weights or ONNX files are now.
    card : path-like, optional
        Write the model card here, a Markdown file; see `icecore.jobs.model_card`.

    Returns
    -------
    dict
        ``{"path", "bytes", "inputs", "outputs"}``; also in the file's metadata.

    Raises
    ------
    RunError
        The average has a head that is no chain of matrices (LightGBM, nearest
        neighbours), or is not a weighted sum of probabilities.
    FingerprintError
        A backbone is not the one that the heads were trained on.
    ProofError
        On a few pictures it does not answer what `predict` does; nothing is written then.
    """
    trained = open_trained(run, answer)
    known = _backbones(trained)
    made = made_how(*(part.run for part in trained.runs))
    require_writable((out, card), (run, *(spec_text(one, weights_dir).name for one in known)))
    require_kind(out, ".onnx")
    require_kind(card, ".md")
    text = "" if card is None else model_card(run, answer)
    _require_one_view(made)
    backbones = _load(known, made, weights_dir)
    place = {one["fingerprint"]: index for index, one in enumerate(known)}
    tasks = [_bundled_task(trained, name, place) for name in trained.weights]
    about = _about(trained, made, known)
    model = features.build_bundle(backbones, tasks, made.fit, made.precision, about)
    content = _content(model)
    options = PredictOptions(answer, None, weights_dir, "f32", whole=True)
    _prove(run, content, trained.classes, options)
    publish_bytes(out, content)
    if card is not None:
        publish_text(card, text)
    note = json.loads(next(p.value for p in model.metadata_props if p.key == "icecore"))
    return {"path": str(out), "bytes": len(content)} | note


def _load(known: list[dict], made: FeatureSetRecord, weights_dir: str | os.PathLike | None) -> list:
    """Return the backbones that the heads were trained on, and no others."""
    request = features.WeightsRequest.parse(made.backbone.weights, weights_dir)
    specs = [spec_text(one, weights_dir) for one in known]
    backbones = features.load_backbones(specs, "onnxruntime", request)
    _require_same(known, backbones, made)
    for one in backbones:
        size = getattr(one.network, "batch", None)
        if size is not None:
            raise RunError(
                f"{one.record.spec} takes {counted(size, 'image')} at a time, no more and no "
                "fewer; a bundle takes any number",
                "export it with a batch of any size (dynamic_axes, dynamic_shapes), extract and "
                f"train again; icecore predict --engine onnxruntime --batch-size {size} needs none",
            )
    return backbones


def _require_one_view(made: FeatureSetRecord) -> None:
    if len(views := made.views) > 1:
        raise RunError(
            f"the run was trained on {len(views)} views of each image "
            f"({enumerate_some(views.names)}); a bundle takes one square of each",
            "extract with --views center and train again for a bundle; "
            "icecore predict makes all views",
        )


def _about(trained: Trained, made: FeatureSetRecord, known: list[dict]) -> dict:
    return {
        "icecore": __version__,
        "random_weights": made.backbone.is_random,
        "answers": {name: one.answer for name, one in trained.weights.items()},
        # The graph itself computes in float32, whatever the features were computed in.
        "trained_on": {"compute_precision": made.compute, "precision": made.precision},
        # fast: JPEGs are decoded at a half, a quarter or an eighth, see examples/run_bundle.py.
        "decoding": made.decoding,
        # If so, it is to be given squares of the part that counts, not of whole images.
        "trained_on_boxes": any(part.run.boxed for part in trained.runs),
        "licenses": {one["spec"]: one.get("license", "not known") for one in known},
    }


def _content(model) -> bytes:
    try:
        return model.SerializeToString()
    except Exception as error:  # protobuf's own kind
        raise RunError(
            f"the bundle cannot be one ONNX file: {first_line(error)}",
            "protobuf holds 2 GiB at most: bundle a run of fewer or smaller backbones",
        ) from error


def _backbones(trained: Trained) -> list[dict]:
    """Return the feature sets of all runs, each once."""
    every = [one for part in trained.runs for one in part.run.backbones]
    return list({one["fingerprint"]: one for one in every}.values())


def _prove(
    run, content: bytes, classes: dict[str, tuple[str, ...]], options: PredictOptions
) -> None:
    """Compare what the file answers with what `predict` does, on a few pictures.

    Raises
    ------
    BackboneError
        The file cannot be loaded.
    ProofError
        Its answers are others.
    """
    with scratch_folder() as folder:
        images = features.write_trial_images(folder / "images")
        found = features.run_bundle(content, images)
        answers = folder / "answers.csv"
        options = dataclasses.replace(options, engine="onnxruntime", form="csv")
        predict(run, folder / "images", answers, options)
        _, *lines = [line.fields for line in csv_lines(answers, RunError)]
    at = 1
    for name in classes:
        columns = slice(at + 1, at + 1 + len(classes[name]))
        expected = np.array([line[columns] for line in lines], float)
        at = columns.stop
        difference = float(np.abs(found[name] - expected).max())
        if not difference < TOLERANCE:
            raise ProofError(
                f"the bundle's answers for the task '{name}' differ from those of predict by "
                f"{difference:.1e}, {TOLERANCE:.0e} is allowed; nothing was written",
                "use icecore predict, and report the network that it happens with",
            )


def _bundled_task(trained: Trained, name: str, place: dict[str, int]):
    weights, classes = trained.weights[name], trained.classes[name]
    if weights.mean != "arithmetic" or weights.groups:
        raise RunError(
            f"the blend of the task '{name}' is not a weighted sum of probabilities",
            "blend again without --mean geometric and --groups",
        )
    column = {label: index for index, label in enumerate(classes)}
    bundled: list[features.BundledHead] = []
    refused, router = [], None
    for part in trained.runs:
        for model, own in part.models.get(name, {}).items():
            task = part.run.tasks[name]
            head = heads.load_task_head(task, own)
            width = {one["fingerprint"]: one["dim"] for one in part.run.backbones}
            prints = task.features[own]
            heads.require_width(head, task, own, sum(width[print_] for print_ in prints))
            chains = _chains(head)
            if chains is None:
                refused.append(model)
                continue
            share = _share(weights, model, len(chains))
            router = len(bundled) if model == weights.router else router
            places = tuple(place[print_] for print_ in prints)
            columns = tuple(column[str(label)] for label in head.classes_)
            bundled += [
                features.BundledHead(share, places, layers, columns, widths, *kernel)
                for layers, widths, *kernel in chains
            ]
    if refused:
        raise RunError(
            f"heads of the task '{name}' cannot be written as ONNX matrices: "
            f"{enumerate_some(refused)}",
            "train and blend a run of kernel, grouped, mlp, logistic and ridge heads for a bundle",
        )
    known = weights.calibration
    calibration = None if known is None else (known.temperature, known.wrong)
    return features.BundledTask(name, classes, tuple(bundled), calibration, router)


def _share(weights: TaskWeights, model: str, chains: int) -> float | tuple[float, ...]:
    """Return the weight of each of a model's chains, for each group where groups have their own."""
    if not weights.routed:
        return weights.weights[model] / chains
    return tuple(own[model] / chains for own in weights.routed.values())


def _chains(head: Head) -> list[tuple] | None:
    """Return a head's matrices, widths of power-scaled sets, and kernel; None for trees.

    Several chains are averaged. That of groups has a fourth part, the route to them.
    """
    if isinstance(head, GroupedHead):
        kernel = _kernel(head)
        layers = [(coef, head.intercept_) for coef in head.group_coefs]
        return [(layers, head.power_sets, kernel, (head.route_coef_, head.route_intercept_))]
    if isinstance(head, KernelHead):
        kernel = _kernel(head)
        return [([(head.coef_, head.intercept_)], head.power_sets, kernel)]
    if isinstance(head, MLPClassifier):
        return [([(n.W1, n.b1), (n.W2, n.b2)], head.power_sets, None) for n in head.networks_]
    if isinstance(head, LogisticHead | RidgeHead):
        return [([(head.coef_, head.intercept_)], head.power_sets, None)]
    return None


def _kernel(head: KernelHead | GroupedHead) -> tuple:
    own = head.support_
    scaling = own.scaling and (own.scaling.shift, own.scaling.factor)
    return own.directions, own.rows, own.squares, own.gamma, scaling


def _require_same(known: list[dict], backbones, made: FeatureSetRecord) -> None:
    for one, backbone in zip(known, backbones):
        ours = dataclasses.replace(made, backbone=backbone.record, layer=backbone.layer)
        require_same(backbone.record.spec, one["record"], ours.as_dict())
