"""Classify an image with what `icecore bundle` wrote: ONNX Runtime, Pillow and NumPy alone."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
note = json.loads(session.get_modelmeta().custom_metadata_map["icecore"])
image, squares = Image.open(sys.argv[2]).convert("RGB"), {}
for name, it in note["inputs"].items():
    side, border = it["input_size"][1], (1 - it["crop_pct"]) / 2
    squares[name] = np.asarray(ImageOps.fit(image, (side, side), Image.BICUBIC, border))[None]
for it, found in zip(note["outputs"].values(), session.run(list(note["outputs"]), squares)):
    print(it["task"], it["classes"][found[0].argmax()], f"{found[0].max():.3f}")
