"""Files that may not become as large as they are: an error of a line, whoever writes them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and ulimit")

# Each limit is tried in a process of its own: HDF5 ends the one that cannot close its file.
TRIALS = """
import os, resource, signal, sys
import numpy as np
from icecore.core.errors import DiskFullError
from icecore.runs import ProbabilityTable, write_probabilities
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, count = sys.argv[1], 1000
ids = tuple(f"image {number}" for number in range(count))
table = ProbabilityTable(ids, ("a", "b"), np.full((count, 2), 0.5), ("test",) * count)
write_probabilities(path, table)
whole = os.path.getsize(path)
os.unlink(path)
for limit in [0, 1, *range(1000, whole, whole // 8), whole - 1, whole]:
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            write_probabilities(path, table)
            print(limit == whole, flush=True)
        except DiskFullError as error:
            kept = os.listdir(os.path.dirname(path))
            print(limit < whole and "ulimit -f" in str(error) and not kept, flush=True)
        sys.exit()
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.parametrize("ending", ["h5", "npz", "csv"])
def test_a_file_that_may_not_grow_is_an_error_of_a_line(tmp_path, ending):
    done = subprocess.run(
        [sys.executable, "-c", TRIALS, str(tmp_path / f"p.{ending}")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert set(done.stdout.split()) == {"True", "0"}
