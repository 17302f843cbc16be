"""ONNX Runtime, and graphs opened in it so that it says nothing to the terminal."""

from collections.abc import Sequence
from pathlib import Path

from ...core.imports import load


def load_onnxruntime():
    """Import ``onnxruntime``, or say what to install."""
    return load("onnxruntime")


def open_session(
    graph: Path | bytes | str, providers: Sequence = ("CPUExecutionProvider",), **settings: object
):
    """Open a graph.

    Parameters
    ----------
    graph : Path, bytes or str
        A file, or its content.
    providers : sequence
        As ONNX Runtime takes them.
    **settings
        Of its ``SessionOptions``.

    Returns
    -------
    onnxruntime.InferenceSession
        Its exceptions share no base of their own.
    """
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for name, value in settings.items():
        setattr(options, name, value)
    source = graph if isinstance(graph, bytes) else str(graph)
    return ort.InferenceSession(source, options, providers=list(providers))
