"""OpenCV 4, 5, and what may come: a version that is not known is tried, with a warning."""

from __future__ import annotations

import subprocess
import sys

import pytest

from icecore.features.images.libraries import load_opencv


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
