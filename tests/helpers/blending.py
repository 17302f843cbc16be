"""A blend that is kept in its run, as `icecore.blend` keeps it."""

from icecore.ensemble import BlendOptions, blend_sources, save_blend


def blend_run(run, options=None, write=True):
    result = blend_sources([run], None, options or BlendOptions())
    if write:
        save_blend(result)
    return result
