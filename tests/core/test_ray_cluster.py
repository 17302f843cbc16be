"""Joining a Ray cluster, and what is said where that fails."""

from __future__ import annotations

import socket
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from icecore.core.errors import ClusterError
from icecore.core.ray_cluster import joined


class FakeRayError(Exception):
    pass


@pytest.fixture
def ray(monkeypatch):
    """Stand in for Ray: a version of its own cannot be had beside the one that is installed."""
    module = ModuleType("ray")
    module.exceptions = SimpleNamespace(RayError=FakeRayError)
    module.calls = []
    module.is_initialized = lambda: False
    module.init = lambda **options: module.calls.append(options)
    module.shutdown = lambda: module.calls.append("left")
    monkeypatch.setitem(sys.modules, "ray", module)
    return module


def test_a_cluster_of_another_version_is_named(ray):
    def init(**options):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.49.0\n")

    ray.init = init
    match = r"auto: Version .* with: Ray: 2\.49"
    with pytest.raises(ClusterError, match=match) as error, joined("auto"):
        pass
    assert "of this version" in error.value.hint


def test_a_cluster_that_was_joined_is_left_and_another_one_is_not(ray):
    with joined("local") as given:
        assert given is ray
    # With no address Ray joins the cluster that was started last, alive or dead.
    assert ray.calls[0]["address"] == "local"
    assert ray.calls[1:] == ["left"]
    ray.is_initialized = lambda: True
    with joined("10.0.0.1:6379"):
        pass
    assert len(ray.calls) == 2


def test_where_nobody_listens_is_said_at_once(ray):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        for there in (address, f"ray://{address}"):
            with pytest.raises(ClusterError, match=f"at {there}: .*refused"), joined(there):
                pass
        assert ray.calls == []
        free.listen()
        with joined(address):
            assert ray.calls[0]["address"] == address


def test_what_ray_fails_with_is_one_line(ray):
    with pytest.raises(ClusterError, match="ended early: the node is gone\n"), joined("local"):
        raise FakeRayError("a traceback\n  the node is gone\n")
    assert ray.calls[-1] == "left"


def test_what_ray_says_of_its_processes_is_not_printed(tmp_path):
    """It is said on standard output, where a script reads an answer."""
    pytest.importorskip("ray", reason="Ray is not installed")
    code = (
        "from icecore.core.ray_cluster import joined\n"
        "with joined('local') as ray:\n"
        "    @ray.remote(max_restarts=0, max_task_retries=-1)\n"
        "    class One:\n"
        "        def wait(self):\n"
        "            import time\n"
        "            time.sleep(60)\n"
        "    one = One.remote()\n"
        "    ray.get(one.__ray_ready__.remote())\n"
        "    waited = one.wait.remote()\n"
        "    ray.kill(one)\n"
        "    ray.wait([waited], timeout=60)\n"
        "    from ray._private.worker import print_to_stdstream\n"
        "    told = {'lines': ['a process died'], 'pid': 'raylet', 'is_err': False}\n"
        "    print_to_stdstream(told, ignore_prefix=False)\n"
        "print('an answer')\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, cwd=tmp_path
    )
    assert told.stdout == "an answer\n", told.stderr
