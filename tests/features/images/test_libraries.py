"""OpenCV 4, 5, and what may come: a version that is not known is tried, with a warning."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

from icecore.features.images.libraries import load_decoders, load_opencv


def test_the_version_here_is_known_and_quiet():
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "from icecore.features.images.libraries import load_opencv\nload_opencv()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert load_opencv().imdecode is not None


@pytest.mark.parametrize(
    ("version", "warned"), [("4.13.0", False), ("5.2.1", False), ("6.0.0", True)]
)
def test_a_newer_opencv_is_tried(tmp_path, version, warned):
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(
        f"__version__ = {version!r}\nclass utils: pass\ndef setNumThreads(n): print('threads', n)\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from icecore.features.images.libraries import load_opencv\nload_opencv()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "threads 0\n"
    assert ("OpenCV 6.0.0 is newer than this version of icecore knows" in done.stderr) == warned


@pytest.mark.parametrize(("version", "warned"), [("1.26.4", 0), ("2.9.0rc1", 0), ("3.0.0", 1)])
def test_a_newer_numpy_is_tried(version, warned, monkeypatch):
    monkeypatch.setattr(np, "__version__", version)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        load_decoders()
    assert [str(one.message) for one in said] == [
        "NumPy 3.0.0 is newer than this version of icecore knows (2); it is tried"
    ] * warned


def test_memory_of_large_images_does_not_stay_with_each_thread_that_decoded_one(tmp_path):
    """Six images of 36 million pixels, one after the other, each in a thread of its own."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    code = """
import contextlib, io, sys, threading
from PIL import Image
from icecore.features.images.decode import decode
file = io.BytesIO()
Image.new("RGB", (6000, 6000), (9, 9, 9)).save(file, "PNG", compress_level=1)
decode(file.getvalue())
stay, done = threading.Event(), threading.Semaphore(0)
def work():
    decode(file.getvalue())
    done.release()
    stay.wait()
for _ in range(6):
    threading.Thread(target=work).start()
    done.acquire()
now = int(open("/proc/self/statm").read().split()[1]) * 4096
print(now // 2**20)
stay.set()
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    # One of them takes 144 MB in Pillow.
    assert int(found.stdout) < 400
