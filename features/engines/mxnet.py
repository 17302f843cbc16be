"""MXNet, the reference engine: runs the cut Gluon network itself."""

import threading
import warnings

import numpy as np

from ..gluon.loader import load_mxnet, mxnet_context
from ..gluon.network import GluonBackbone
from .base import AS_USUAL, Engine, Setup


class MXNetEngine(Engine):
    """Runs the cut Gluon network in MXNet."""

    name = package = "mxnet"
    title = "MXNet"
    runs_graphs = False

    def __init__(self, network: GluonBackbone, setup: Setup = AS_USUAL) -> None:
        self._mx = mx = load_mxnet()
        self.version = mx.__version__
        self._context = mxnet_context(setup.device)
        self.record = record = network.record
        with warnings.catch_warnings():
            # MXNet asks for the type of the input, and then takes float32 as it should.
            warnings.simplefilter("ignore")
            block = mx.gluon.SymbolBlock(network.symbol, mx.sym.var("data"))
        for name, parameter in block.collect_params().items():
            parameter.grad_req = "null"
            value = network.parameters[name]
            parameter.shape = value.shape
            parameter.initialize(mx.init.Zero(), ctx=self._context)
            parameter.set_data(value)
        block.hybridize(static_alloc=True, static_shape=True)
        self._block, self._lock = block, threading.Lock()
        shape, how = (1, 3, 1, 1), record.preprocessing
        self._shift = mx.nd.array(np.array(how.mean) * 255, self._context).reshape(shape)
        self._scale = mx.nd.array(1 / (np.array(how.std) * 255), self._context).reshape(shape)

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """See `Engine.precisions`."""
        if device == "mps":
            return ()
        if device != "cpu":
            mxnet_context(device)
        return ("f32",)

    def compute(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.compute`."""
        # A block with static memory has one set of buffers.
        with self._lock:
            batch = self._mx.nd.array(images, self._context, dtype=np.uint8)
            batch = batch.transpose((0, 3, 1, 2)).astype(np.float32)
            return self._block((batch - self._shift) * self._scale).asnumpy()
