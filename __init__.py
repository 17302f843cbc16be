"""icecore: frozen features once, heads many times, blended with tuned weights.

Three jobs, each also a command: `extract` turns images into a feature cache,
`train` fits heads on it, `blend` weighs their probabilities. Importing this
package loads no deep-learning framework.
"""

__version__ = "0.1.0"
