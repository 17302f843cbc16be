"""Ask another process, which may take no more than so much time and memory.

A library may end the process that it is in, or never come back, when a file is made to have
it do so. Where that cannot be told before, it happens in a child.
"""

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

try:
    import resource
except ImportError:  # Windows: the clock alone limits a child.
    resource = None  # type: ignore[assignment]

_MARK = "icecore-answer:"
# As ``python -m`` does, but for the folder that a command is run in: it may be a stranger's, and
# a file in it have the name of a module. The package is where this one is, looked for last.
_RUN = (
    "import runpy, sys, warnings; sys.path.append({place!r}); "
    # The package of the module may import it, too, which harms nobody.
    "warnings.filterwarnings('ignore', '.*found in sys.modules', RuntimeWarning); "
    "runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)
# PR_SET_PDEATHSIG of Linux's prctl.
_SIGNAL_AT_PARENTS_DEATH = 1
_PLACE = str(Path(__file__).resolve().parents[2])


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a child may take.

    Attributes
    ----------
    processor_seconds : int
        Over all of its threads.
    seconds : float
        By the clock: a busy machine may let it wait.
    memory_bytes : int
        That it writes to.
    """

    processor_seconds: int
    seconds: float
    memory_bytes: int


class ChildError(Exception):
    """A child gave no answer; the text says why, as the end of a sentence that begins with it."""


def ask_child(module: str, arguments: Sequence[str], limits: Limits) -> dict:
    """Run a module, as ``python -m MODULE ARGUMENTS`` does, and return what it answers.

    Parameters
    ----------
    module : str
        It calls `answer_parent`.

    Raises
    ------
    ChildError
        It ended without an answer, or took too much.
    """
    bounds = [str(limits.processor_seconds), str(limits.memory_bytes)]
    run = _RUN.format(place=_PLACE, module=module)
    command = [sys.executable, "-P", "-c", run, *bounds, *arguments]
    # However this process ends, nobody holds the other end of the pipe then.
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            command,
            stdin=reading,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limits.seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"takes more than {limits.seconds:g} s") from error
    finally:
        os.close(reading)
        os.close(writing)
    answers = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if answers:
        answer = json.loads(answers[-1].removeprefix(_MARK))
        if "failure" in answer:
            raise ChildError(answer["failure"])
        return answer
    raise ChildError(_why(done, limits))


def answer_parent(arguments: Sequence[str], answer: Callable[..., dict]) -> None:
    """Call a function under the limits that the parent set, and print its answer.

    Parameters
    ----------
    arguments : sequence of str
        Of the process.
    answer : callable
        Takes the arguments that the parent gave, returns JSON types.
    """
    seconds, memory, *rest = arguments
    _end_with_parent()
    _limit(int(seconds), int(memory))
    try:
        found = answer(*rest)
    except MemoryError:
        found = {"failure": f"needs more than {int(memory) / 2**30:.1f} GiB of memory"}
    print(f"{_MARK}{json.dumps(found)}", flush=True)


def _end_with_parent() -> None:
    """Have this process end when the one that asks is killed, which takes nobody along."""
    if sys.platform == "linux":
        # Also where a library holds Python's lock for good.
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    os.read(0, 1)
    os._exit(1)


def _limit(processor_seconds: int, memory_bytes: int) -> None:
    if resource is None:
        return
    # The first signal ends the process, without an image of its memory.
    for name, bound in (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_CPU", processor_seconds),
        ("RLIMIT_DATA", memory_bytes),
    ):
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, most = resource.getrlimit(kind)
        wanted = bound if most == resource.RLIM_INFINITY else min(bound, most)
        resource.setrlimit(kind, (wanted, most))


def _why(done: subprocess.CompletedProcess, limits: Limits) -> str:
    if done.returncode < 0:
        number = -done.returncode
        if number == getattr(signal, "SIGXCPU", None):
            return f"takes more than {limits.processor_seconds} s of processor time"
        names = {int(one): one.name for one in signal.Signals}
        return f"ends the process that it is in ({names.get(number, number)})"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    text = lines[-1].strip()[:200] if lines else f"status {done.returncode}"
    if "bad_alloc" in text or "MemoryError" in text or "allocate" in text.lower():
        return f"needs more than {limits.memory_bytes / 2**30:.1f} GiB of memory"
    return f"fails ({text})"
