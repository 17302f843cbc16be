"""Handlers of Ctrl-C and SIGTERM, set before all else: hardly a module is loaded for it."""

import os
import signal

# In quotes: the module of types takes longer to load than all of this.
_USUAL: "dict[signal.Signals, signal._HANDLER]" = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


def end_at_once() -> list[signal.Signals]:
    """Let a signal end the process, as long as there is nothing to be kept or put away."""
    return handle(_end)


def handle(handler: "signal._HANDLER") -> list[signal.Signals]:
    """Set a handler; return for which signals: where a shell has one ignored, it stays so."""
    ours = [number for number, usual in _USUAL.items() if signal.getsignal(number) is usual]
    try:
        for number in ours:
            signal.signal(number, handler)
    except ValueError:
        # Only the main thread may.
        return []
    return ours


def handle_as_usual(ours: list[signal.Signals]) -> None:
    """Give back what `end_at_once` or `handle` returned."""
    for number in ours:
        signal.signal(number, _USUAL[number])


def _end(number: int, frame) -> None:
    try:
        os.write(2, b"interrupted before it began\n")
    finally:
        os._exit(128 + number)
