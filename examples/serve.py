"""Answer images over HTTP with what `icecore bundle` wrote; icecore itself is not needed.

    python examples/serve.py model.onnx [PORT]
    curl --data-binary @photo.jpg http://localhost:8000/

The answer is JSON: the probability of each class by task, those of `icecore predict`. With FastAPI:

    @app.post("/")
    def answer(image: Annotated[bytes, File()]):
        return answer_bytes(model, image)
"""

import io
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image
from run_bundle import FORMATS, Bundle

LARGEST_FILE, LARGEST_PIXELS = 32 * 2**20, 100_000_000


def answer_bytes(model, content):
    """Return the probabilities of an image file; ValueError says why there are none."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as header:
            if header.width * header.height > LARGEST_PIXELS:
                raise ValueError("the image has too many pixels")
        return model.answer(io.BytesIO(content))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("no image that can be read") from error


class Handler(BaseHTTPRequestHandler):
    """One request: an image file as the body."""

    timeout = 30

    def do_POST(self):
        """Answer an image, or say what is wrong with it."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return self.reply(411, {"error": "send the length of the image"})
        if int(length) > LARGEST_FILE:
            return self.reply(413, {"error": f"more than {LARGEST_FILE} bytes"})
        try:
            answer = answer_bytes(self.server.model, self.rfile.read(int(length)))
        except ValueError as error:
            return self.reply(400, {"error": str(error)})
        return self.reply(200, answer)

    def reply(self, status, content):
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(bundle, port=8000):
    """Return the server of a bundle on this machine alone; put a real one before it."""
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.model = Bundle(bundle)
    return server


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    elif len(sys.argv) < 2:
        sys.exit(__doc__)
    else:
        serve(*sys.argv[1:]).serve_forever()
