import base64
import http.server
import io
import os
import struct
import threading
from pathlib import Path

import pytest

from icecore.pages.thumbnails import EDGE, thumbnail

image = pytest.importorskip("PIL.Image", reason="thumbnails need Pillow")


def opened(uri):
    return image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_all_kinds_of_pictures_become_small_rgb(tmp_path, mode, suffix):
    path = tmp_path / f"x{suffix}"
    try:
        image.new(mode, (900, 450)).save(path)
    except (OSError, KeyError):
        pytest.skip(f"{suffix} does not hold {mode}")
    uri, reason = thumbnail(str(path))
    assert not reason
    assert opened(uri).size == (EDGE, EDGE // 2)
    assert opened(uri).mode == "RGB"


def test_exif_orientation_is_applied(tmp_path):
    exif = image.Exif()
    exif[0x0112] = 6
    image.new("RGB", (400, 200)).save(tmp_path / "x.jpg", exif=exif)
    assert opened(thumbnail(str(tmp_path / "x.jpg"))[0]).size == (EDGE // 2, EDGE)


def test_what_is_no_picture_has_a_reason(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"not a picture")
    assert thumbnail(str(tmp_path / "x.jpg")) == (
        "",
        "image cannot be read (UnidentifiedImageError)",
    )
    assert thumbnail(str(tmp_path / "none.jpg")) == ("", "image is missing")
    assert thumbnail("") == ("", "no image file is known")
    assert thumbnail(str(tmp_path)) == ("", "not a file")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert thumbnail(str(tmp_path / "pipe.jpg")) == ("", "not a file")


def test_what_is_too_large_is_not_decoded(tmp_path):
    # BMP headers that claim many pixels, and none follow. Pillow itself accepts the first size.
    for width, height in ((8500, 8000), (60_000, 60_000)):
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        data = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header
        (tmp_path / "bomb.bmp").write_bytes(data)
        uri, reason = thumbnail(str(tmp_path / "bomb.bmp"))
        assert not uri
        assert reason in (
            f"too many pixels ({width} x {height})",
            "image cannot be read (DecompressionBombError)",
        )
        assert width > 8500 or "too many" in reason


def test_a_page_never_fetches_a_picture():
    class Recorder(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

    asked: list[str] = []
    with http.server.HTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for rest in ("a.jpg", "a.tar#bytes=0-99", "a.parquet#row=0&column=image"):
            place = f"http://127.0.0.1:{server.server_port}/{rest}"
            assert thumbnail(place) == ("", "image lies in a store")
        server.shutdown()
    assert not asked


@pytest.mark.parametrize("suffix", [".gif", ".avif"])
def test_animations_and_avif_are_read(suffix, tmp_path):
    image.init()
    if suffix.upper()[1:] not in image.OPEN:
        pytest.skip("this Pillow knows no AVIF")
    image.new("RGB", (900, 450)).save(tmp_path / f"x{suffix}")
    assert opened(thumbnail(str(tmp_path / f"x{suffix}"))[0]).size == (EDGE, EDGE // 2)


def test_heic_is_read_where_pi_heif_is_there():
    pytest.importorskip("pi_heif")
    path = Path(__file__).parents[1] / "fixtures" / "heic" / "photo.heic"
    uri, reason = thumbnail(str(path))
    assert not reason
    assert max(opened(uri).size) <= EDGE


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_that_took_the_place_of_a_picture_is_not_waited_for(tmp_path, monkeypatch):
    path, sound, pipe = tmp_path / "x.jpg", tmp_path / "sound.jpg", tmp_path / "pipe"
    image.new("RGB", (9, 9)).save(sound)
    os.mkfifo(pipe)
    path.symlink_to(sound)
    look = os.stat

    def looked(place, *rest, **more):
        found = look(place, *rest, **more)
        if str(place) == str(path):
            path.unlink()
            path.symlink_to(pipe)
        return found

    monkeypatch.setattr(os, "stat", looked)
    assert thumbnail(str(path)) == ("", "not a file")
