"""What every source of backbones is: something that turns a spec into a network."""

import abc
from typing import ClassVar

from ...core.errors import BackboneError
from ..gluon.network import GluonBackbone
from ..graphs.network import GraphNetwork
from ..records.layer import TOKEN_POOLS
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest

# Name, operator, and shape of the output for one image.
LayerShape = tuple[str, str, tuple[int, ...]]


class Source(abc.ABC):
    """A kind of backbone.

    Attributes
    ----------
    name : str
        What stands before the colon of a spec.
    is_gluon : bool
        Whether its networks are Gluon's, so that `load_gluon` gives what MXNet runs.
    """

    name: ClassVar[str]
    is_gluon: ClassVar[bool] = False

    @abc.abstractmethod
    def load_graph(self, spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
        """Return the network as an ONNX graph.

        Raises
        ------
        BackboneError, WeightsError, MissingFileError, ProofError, MissingDependencyError
            It cannot be had, or its graph is not what it should be.
        """

    def load_gluon(self, spec: BackboneSpec, request: WeightsRequest) -> GluonBackbone:
        """Return the Gluon network itself.

        Raises
        ------
        BackboneError
            There is none.
        """
        raise BackboneError(
            f"{spec.canonical} is no Gluon network, so MXNet does not run it",
            "use --engine auto, openvino or onnxruntime",
        )

    def layers(self, spec: BackboneSpec, request: WeightsRequest) -> list[LayerShape]:
        """List the layers that features may come from.

        Raises
        ------
        BackboneError
            There is but the default layer.
        """
        raise BackboneError(
            f"the layers of {spec.source} networks cannot be listed",
            "take the default layer",
        )

    def settled(self, spec: BackboneSpec) -> BackboneSpec:
        """Return a spec whose layer and pool say all, where this kind of network has defaults.

        Raises
        ------
        BackboneError
            Its networks have no such layers.
        """
        if spec.layer.pool in TOKEN_POOLS or spec.layer.blocks:
            raise BackboneError(
                f"{spec.canonical} has no tokens: {spec.layer.text}",
                "tokens are of timm's transformers; give another --layer and --pool",
            )
        return spec

    def check(self, spec: BackboneSpec) -> None:  # noqa: B027  (most have nothing to look up)
        """Raise `BackboneError` where a look into a table shows that there is no such network.

        It costs nothing: no file is read and no framework loaded.
        """
