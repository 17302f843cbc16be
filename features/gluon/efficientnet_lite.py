"""EfficientNet-Lite as a Gluon network, an architecture that GluonCV lacks.

EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation
and with ReLU6 in place of swish, as Google published it for small devices. The
stem and the head keep their width at every scale. Convolutions are padded as
TensorFlow does ("same"): unevenly where the stride leaves a remainder, so the
padding depends on the input's resolution.
"""

import functools
import math

from .loader import load_mxnet

# name -> (width multiplier, depth multiplier)
VARIANTS = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
# repeats, kernel, stride, expansion, output channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD, _EPSILON = 32, 1280, 1e-3


def build_efficientnet_lite(name: str, resolution: int, classes: int = 1000):
    """Build the network, parameters not yet initialised.

    Parameters
    ----------
    resolution : int
        Side of the input in pixels; the padding is laid out for it.

    Returns
    -------
    mxnet.gluon.HybridBlock
        Its children are in the order of the tensors in the published files.
    """
    nn = load_mxnet().gluon.nn
    width, depth = VARIANTS[name]
    net = nn.HybridSequential(prefix=f"{name}_")
    with net.name_scope():
        _add_convolution(net, 3, _STEM, 3, 2, resolution)
        side, channels = math.ceil(resolution / 2), _STEM
        for number, (repeats, kernel, stride, expansion, outputs) in enumerate(_STAGES):
            fixed = number in (0, len(_STAGES) - 1)
            outputs = _round_channels(outputs * width)
            for repeat in range(repeats if fixed else math.ceil(repeats * depth)):
                step = stride if repeat == 0 else 1
                net.add(_block_class()(channels, outputs, kernel, step, expansion, side))
                side, channels = math.ceil(side / step), outputs
        _add_convolution(net, channels, _HEAD, 1, 1, side)
        net.add(nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(classes, in_units=_HEAD))
    return net


def _round_channels(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _add_convolution(
    net, inputs: int, outputs: int, kernel: int, stride: int, side: int, *, groups=1, relu6=True
) -> None:
    nn = load_mxnet().gluon.nn
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    uneven = total % 2 == 1
    if uneven:
        net.add(nn.HybridLambda(_padding(total // 2, total - total // 2)))
    net.add(
        nn.Conv2D(
            outputs,
            kernel,
            stride,
            0 if uneven else total // 2,
            groups=groups,
            use_bias=False,
            in_channels=inputs,
        ),
        nn.BatchNorm(epsilon=_EPSILON, in_channels=outputs),
    )
    if relu6:
        net.add(nn.HybridLambda(_relu6))


def _padding(before: int, after: int):
    widths = (0, 0, 0, 0, before, after, before, after)
    return lambda F, x: F.pad(x, mode="constant", pad_width=widths, constant_value=0)


def _relu6(F, x):
    return F.clip(x, 0, 6)


@functools.cache
def _block_class():
    # Made on first use, because its base class lives in MXNet.
    gluon = load_mxnet().gluon

    class InvertedResidual(gluon.HybridBlock):
        """Expand, filter each channel, project; add the input where shapes allow."""

        def __init__(self, inputs, outputs, kernel, stride, expansion, side, **kwargs):
            super().__init__(**kwargs)
            self._adds_input = stride == 1 and inputs == outputs
            inner = inputs * expansion
            with self.name_scope():
                self.body = gluon.nn.HybridSequential(prefix="")
                if expansion != 1:
                    _add_convolution(self.body, inputs, inner, 1, 1, side)
                _add_convolution(self.body, inner, inner, kernel, stride, side, groups=inner)
                after = math.ceil(side / stride)
                _add_convolution(self.body, inner, outputs, 1, 1, after, relu6=False)

        def hybrid_forward(self, F, x):
            y = self.body(x)
            return y + x if self._adds_input else y

    return InvertedResidual
