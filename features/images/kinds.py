"""What a file is that is none of the images that can be decoded, by its first bytes."""

import re

from ...core.content import describe_content, remedy_for
from ...core.errors import counted
from .tiff import describe_raw

READABLE = "JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or AVIF"
_CONVERT = "convert it"
_AGAIN = "download the picture again"
# Beside those that `describe_content` knows.
_PICTURES = (
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"DDS ", "a DirectDraw surface"),
    (b"v/1\1", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"%!PS", "a PostScript file"),
    *((b"\n" + version + b"\1", "a PCX image") for version in (b"\0", b"\2", b"\3", b"\5")),
    (b"\x01\xda\0", "an SGI image"),
    (b"\x01\xda\1", "an SGI image"),
    (b"PF\n", "a PFM image"),
    (b"Pf\n", "a PFM image"),
    (b"SIMPLE  =", "a FITS image"),
    (b"icns", "an icon image (ICNS)"),
    (b"gimp xcf", "an image of GIMP (XCF)"),
    (b"AT&TFORM", "a DjVu image"),
)
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
# As they begin in base64: JPEG, PNG, GIF and WebP.
_BASE64 = re.compile(rb"\s*[\"']?(?:data:image/[\w.+-]+;base64,|/9j/|iVBORw0KGgo|R0lGOD|UklGR)")
_SVG = re.compile(rb"\s*(?:<\?xml\b.*?)?<(?:!DOCTYPE\s+svg|svg)\b", re.I | re.S)
_PORTABLE = re.compile(rb"P[1-7][\s#]")
_BINARY = re.compile(rb"[^\t\n\r\x20-\x7e\x80-\xff]")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_READABLE_KINDS = re.compile("JPEG image|PNG|GIF|BMP|TIFF|WebP")
# What to do about a kind, by a word of its name; the first that fits.
_REMEDIES = (
    ("video", "take a frame of it"),
    ("AVIF", "it is damaged, or Pillow is older than 11.3, which reads such files"),
    ("image", _CONVERT),
    ("PDF", _CONVERT),
    ("", _AGAIN),
)
_LOOKED_AT = 1024
_SIGNATURES = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF"))
# How a JPEG or PNG begins that was read as text: in UTF-8, each byte that is none lost, or as one
# of Latin-1 or Windows-1252; and a PNG of which line ends were changed.
_AS_TEXT = (
    b"\xef\xbf\xbdPNG", b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", b"\xc2\x89PNG",
    b"\xe2\x80\xb0PNG", b"\xc3\xbf\xc3\x98\xc3\xbf", b"\x89PNG",
)  # fmt: skip


def describe_other_kind(content: bytes) -> str:
    """Say what a file is, and what to do about it; an empty text if that is not known.

    Parameters
    ----------
    content : bytes
        The beginning of the file will do, but for a TGA image, which says so at its end.
    """
    head = content[:_LOOKED_AT]
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(text):
        return f"a web page, as servers send it in place of a picture: {_AGAIN}"
    if _BASE64.match(text):
        return "an image in base64, which is a text: decode it to its bytes"
    if _SVG.match(text):
        return f"an SVG drawing: {_CONVERT}"
    if (head[:4] == b"RIFF" and head[8:12] == b"AVI ") or head.startswith(b"\x1aE\xdf\xa3"):
        return "a video: take a frame of it"
    if head.startswith(b"\0\5\x16\7"):
        return "an AppleDouble file (macOS writes such ._ files beside others): delete it"
    if raw := describe_raw(content):
        return raw
    picture = next((name for mark, name in _PICTURES if head.startswith(mark)), "")
    if picture or _PORTABLE.match(head):
        return f"{picture or 'a PPM image'}: {_CONVERT}"
    if head[128:132] == b"DICM":
        return f"a DICOM image: {_CONVERT}"
    if content[-18:-2] == b"TRUEVISION-XFILE":
        return f"a TGA image: {_CONVERT}"
    if head.startswith(_AS_TEXT) and not head.startswith(_SIGNATURES[1][0]):
        return "an image that was copied as text, which changes its bytes: copy it again as it is"
    if not head.strip(head[:1]) and head[:1] in (b"\0", b"\xff"):
        what = "zeros" if head[0] == 0 else "bytes 0xff"
        return f"a file that begins with {what} alone, as broken copies do: {_AGAIN}"
    name = describe_content(head)
    if name and not _READABLE_KINDS.search(name):
        own = next(remedy for word, remedy in _REMEDIES if word in name)
        return f"{name}: {remedy_for(name, own)}"
    for mark, kind in () if name else _SIGNATURES:
        before = head.partition(mark)[0]
        if 0 < len(before) < len(head) and not _BINARY.search(before):
            what = counted(len(before), "byte")
            return f"a file with {what} before a {kind} image: take them away, or {_AGAIN}"
    is_text = not _BINARY.search(head) and 2 * len(_BEYOND_ASCII.findall(head)) <= len(head)
    return f"a text: {_AGAIN}" if is_text and not name else ""
