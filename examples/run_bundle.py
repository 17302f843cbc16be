"""Classify an image with what `icecore bundle` wrote: ONNX Runtime, Pillow and NumPy alone."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
note = json.loads(session.get_modelmeta().custom_metadata_map["icecore"])
image, squares = Image.open(sys.argv[2]).convert("RGB"), {}
for name, square in note["inputs"].items():
    side = square["input_size"][1]
    scale = int(side / square["crop_pct"]) / min(image.size)
    resized = image.resize([max(side, int(n * scale)) for n in image.size], Image.BICUBIC)
    left, top = ((n - side) // 2 for n in resized.size)
    squares[name] = np.asarray(resized.crop((left, top, left + side, top + side)))[None]
for output, values in zip(note["outputs"].values(), session.run(list(note["outputs"]), squares)):
    print(output["task"], output["classes"][values[0].argmax()], f"{values[0].max():.3f}")
