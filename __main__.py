"""``python -m icecore``, and the script ``icecore``: the command line."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks for modules in the working folder first, where strangers' files may lie.
    del sys.path[0]

from .core.signals import end_at_once, handle_as_usual

# Loading takes the first half second of a command.
_OURS = end_at_once()
try:
    from .core.hardware import require_working_memory
    from .core.imports import MORE_MEMORY, NO_MEMORY, is_lack_of_memory

    try:
        # What NumPy, SciPy and their like take to be loaded; some end the process, or wait for
        # ever, where there is less.
        require_working_memory(384 * 2**20)
        from .cli import main
    except (MemoryError, ImportError, OSError) as error:
        if not is_lack_of_memory(error):
            raise
        sys.exit(f"error: {NO_MEMORY}: its libraries cannot be loaded\n  {MORE_MEMORY}")
finally:
    handle_as_usual(_OURS)

if __name__ == "__main__":
    main()
