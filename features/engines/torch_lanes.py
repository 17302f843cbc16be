"""Ways for batches through a device, each with buffers of its own, so that two are under way."""

import functools
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from .slots import Slot
from .torch_devices import Exactly, Place


class Lane(Slot):
    """One way for batches of one size, and for what is left of one.

    Parameters
    ----------
    module : torch.nn.Module
        On that device, from uint8 images to features.
    shape : tuple of int
        Of a whole batch, (N, R, R, 3).

    Attributes
    ----------
    busy_seconds : float
        That the device has computed for this lane.
    """

    def __init__(self, place: Place, module, shape: tuple[int, ...], exactly: Exactly) -> None:
        self._torch, self._place, self._module = place.torch, place, module
        self._exactly, self._count = exactly, 0
        self.busy_seconds = 0.0
        # Memory that stays where it is lets the GPU copy without the processor's help.
        self._images = self._torch.zeros(shape, dtype=self._torch.uint8, pin_memory=place.is_cuda)
        self._pixels = self._images.numpy()

    def _fill(self, images: np.ndarray) -> None:
        """Take the images of a batch, and zeros for those that are lacking."""
        self._pixels[: len(images)] = images
        self._pixels[len(images) : self._count] = 0
        self._count = len(images)


class ThreadLane(Lane):
    """A lane that one thread computes: on CPUs, and on what has no streams of its own."""

    def __init__(self, place: Place, module, shape: tuple[int, ...], exactly: Exactly) -> None:
        super().__init__(place, module, shape, exactly)
        # A lane of its own for each processor: PyTorch's threads would share every layer.
        alone = place.device == "cpu"
        # What the thread holds must not hold the lane: neither would ever end.
        begin = functools.partial(_compute_alone, place.torch) if alone else None
        # Numbers of threads are kept for the process as well, and are put back.
        threads = self._torch.get_num_threads()
        self._thread = ThreadPoolExecutor(1, "torch", initializer=begin)
        self._future: Future = self._thread.submit(self._compute)
        self.wait()
        if alone:
            self._torch.set_num_threads(threads)

    def submit(self, images: np.ndarray) -> None:
        """See `Lane.submit`."""
        self._fill(images)
        self._future = self._thread.submit(self._compute)

    def wait(self) -> np.ndarray:
        """See `Lane.wait`."""
        return self._future.result()[: self._count]

    def _compute(self) -> np.ndarray:
        started = time.perf_counter()
        with self._torch.inference_mode():
            features = self._module(self._images.to(self._place.device)).to("cpu").numpy()
        self.busy_seconds += time.perf_counter() - started
        return features


def _compute_alone(torch) -> None:
    """Let this thread compute without others; asking makes it remember what was set."""
    torch.set_num_threads(1)
    torch.get_num_threads()


class CudaLane(Lane):
    """A lane on one of NVIDIA's GPUs: copies on a stream of its own, one graph for all kernels.

    The kernels of all lanes of an engine run on one stream, one batch after the other. What
    they are is recorded once as a CUDA graph, so that launching them takes no time of Python's;
    where that cannot be done, they are launched one by one.
    """

    def __init__(self, place: Place, module, shape: tuple[int, ...], exactly: Exactly) -> None:
        super().__init__(place, module, shape, exactly)
        cuda, device = self._torch.cuda, place.device
        self._copies = cuda.Stream(device)
        self._kernels = place.kernels
        self._began, self._done, self._came, self._left = (
            cuda.Event(enable_timing=timed) for timed in (True, True, False, False)
        )
        self._there = self._images.to(device)
        with cuda.device(device), cuda.stream(self._kernels), self._torch.inference_mode():
            # Libraries choose their kernels and take their memory before the recording.
            for _ in range(2):
                found = module(self._there)
            self._features = self._torch.empty_like(found)
            self._kernels.synchronize()
            self._graph = self._recorded()
        self._rows = self._torch.empty(found.shape, pin_memory=True)

    def _recorded(self):
        cuda = self._torch.cuda
        graph = cuda.CUDAGraph()
        try:
            # Other threads may use the GPU meanwhile.
            with cuda.graph(graph, stream=self._kernels, capture_error_mode="thread_local"):
                self._features.copy_(self._module(self._there))
        except self._torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return None
        return graph

    def submit(self, images: np.ndarray) -> None:
        """See `Lane.submit`."""
        self._fill(images)
        cuda = self._torch.cuda
        with cuda.device(self._place.device), self._torch.inference_mode():
            with cuda.stream(self._copies):
                self._there.copy_(self._images, non_blocking=True)
                self._came.record()
            with cuda.stream(self._kernels):
                self._kernels.wait_event(self._came)
                self._began.record()
                self._compute()
                self._done.record()
            with cuda.stream(self._copies):
                self._copies.wait_event(self._done)
                self._rows.copy_(self._features, non_blocking=True)
                self._left.record()

    def _compute(self) -> None:
        if self._graph is not None:
            self._graph.replay()
            return
        with self._exactly:
            self._features.copy_(self._module(self._there))

    def wait(self) -> np.ndarray:
        """See `Lane.wait`."""
        self._left.synchronize()
        self.busy_seconds += self._began.elapsed_time(self._done) / 1000
        return self._rows.numpy()[: self._count]
