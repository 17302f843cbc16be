"""Say what a file is by its first bytes, where it is not what was expected."""

import os
import re

from .regular_files import open_regular

_MARKS = (
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"BM", "a BMP image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (8, b"WEBP", "a WebP image"),
    (4, b"ftypheic", "a HEIC image"),
    (4, b"ftypheix", "a HEIC image"),
    (4, b"ftypmif1", "a HEIF image"),
    (4, b"ftypmsf1", "a HEIF image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftypavis", "an AVIF image"),
    (4, b"ftyp", "a video or image of the MP4 family"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"PK\x03\x04", "a ZIP archive (an .xlsx workbook and an .npz are ones)"),
    (4, b"TFL3", "a TensorFlow Lite model (.tflite)"),
    (0, b"GGUF", "weights of llama.cpp (.gguf)"),
    (0, b"ftrt", "an engine that TensorRT built (.engine)"),
    (4, b"ORTM", "a model in ONNX Runtime's own format (.ort)"),
    (0, b"\x12\x01\0\0\0\0\0\0", "parameters of MXNet (.params)"),
    (0, b"7767517\n", "a network of ncnn (.param)"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array (.npy)"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"PARE", "an encrypted table"),
    (0, b"ARROW1", "an Arrow file (Feather)"),
    (0, b"\x80\x04\x95", "a pickle of Python, which is never read"),
    (0, b"\x80\x05\x95", "a pickle of Python, which is never read"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"BZh", "compressed with bzip2"),
    (0, b"\xfd7zXZ\0", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstandard"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.xls, .doc)"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x0a\x23\xd7\xce", "a record file of MXNet"),
    (0, b"\x7fELF", "a program"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself"),
)
# What to do about a kind that nothing reads as it is, by a word of its name.
_REMEDIES = (
    ("archive", "unpack it"),
    ("compressed", "unpack it"),
    ("Arrow", "write it as Parquet (to_parquet in pandas and Hugging Face's datasets)"),
    ("Git LFS", "get the file: git lfs pull"),
    ("web page", "download it again: servers send a page in place of what they do not have"),
)
# Kinds of ZIP archives by the name of the first file in it.
_ZIPPED = (
    (
        re.compile(
            rb"[^/]+/(data\.pkl|constants\.pkl|version|byteorder|archive_(format|version)|code/.*"
            rb"|data/(\d+|weights/.*|constants/.*)|\.format_version|\.data/.*)"
        ),
        "a network or weights of PyTorch (.pt, .pth)",
    ),
    (re.compile(rb"metadata\.json|model\.weights\.h5"), "a network of Keras (.keras)"),
)
# Kinds that begin with no mark of their own, but always alike.
_ALIKE = (
    (
        re.compile(rb"\xff{4}.{3}\0", re.DOTALL),
        "an Arrow stream, as Hugging Face's save_to_disk writes it",
    ),
    (re.compile(rb".{6}\0\0\{\s*\"", re.DOTALL), "weights as safetensors (.safetensors)"),
    (re.compile(rb"\x80[\x02\x03]"), "a pickle of Python, as old .pth files are"),
    (re.compile(rb"\n.{1,3}\n.[\w/.:-]+\x12.[A-Z]\w+", re.DOTALL), "a network of TensorFlow (.pb)"),
    (re.compile(rb"\x08\x01\x12.{1,5}\n", re.DOTALL), "a network of TensorFlow (saved_model.pb)"),
    (re.compile(rb"<\?xml[^>]*>\s*<net\s"), "a network of OpenVINO (.xml)"),
)
# As git leaves them in a text that two have changed.
_CONFLICT = re.compile(rb"^<{7} .*^={7}\r?$.*^>{7} ", re.MULTILINE | re.DOTALL)
_LOOKED_AT = 512
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<svg")


def describe_content(head: bytes) -> str:
    """Name the kind of a file from its first bytes; empty for text and for what is not known.

    >>> describe_content(b"PAR1...")
    'a Parquet file'
    """
    for offset, mark, name in _MARKS:
        if head.startswith(mark, offset):
            if mark == b"PK\x03\x04":
                first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
                name = next((kind for inside, kind in _ZIPPED if inside.fullmatch(first)), name)
            # Two letters alone may begin a text.
            if mark == b"BM" and head[:64].isascii() and b"\0" not in head[:16]:
                continue
            return name
    if alike := next((kind for begin, kind in _ALIKE if begin.match(head)), ""):
        return alike
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower()
    if start.startswith(_PAGES):
        return "an SVG drawing" if start.startswith(b"<svg") else "a web page or XML"
    return ""


def kind_of_file(path: str | os.PathLike) -> str:
    """Name the kind of a file as `describe_content` does."""
    with open_regular(path, 0) as file:
        return describe_content(file.read(_LOOKED_AT))


def told_apart(content: bytes, hint: str) -> tuple[str, str]:
    """Say what a file is that could not be read as what it should be, and what to do about that.

    >>> told_apart(b"<html>", "make it again")[0]
    'it is a web page or XML'
    >>> told_apart(b"...", "make it again")
    ('', 'make it again')
    """
    if _CONFLICT.search(content):
        found = "it has the marks of a merge in git that is not finished"
        return found, "finish the merge (git status names its files), or take another copy"
    if content and not content.strip(b"\0"):
        return "it holds zeros alone, as a copy does that was broken off", hint
    if kind := describe_content(content[:_LOOKED_AT]):
        return f"it is {kind}", remedy_for(kind, hint)
    return "", hint


def remedy_for(kind: str, otherwise: str) -> str:
    """Say what to do about a file of a kind that `describe_content` named.

    >>> remedy_for("compressed with gzip", "copy it again")
    'unpack it'
    """
    return next((remedy for word, remedy in _REMEDIES if word in kind), otherwise)
