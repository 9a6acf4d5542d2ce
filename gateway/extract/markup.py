"""HTML to text: what a reader sees, and apart from it what hides in the markup.

Words that are cut by inline tags stay whole, blocks stay apart. Hidden text is read as
well: a recipient can find it, and another program may show it.
"""

import dataclasses
import re
from html import unescape
from urllib.parse import unquote

from selectolax.lexbor import LexborHTMLParser, LexborNode

from gateway.extract.formats import data_uris, is_small_picture, plain_text
from gateway.extract.nesting import is_too_complex

# A line end before each block, so that two cells do not become one word. In front of
# the tag it can do no harm inside attributes, comments or scripts.
_BLOCK = re.compile(
    r"<(?=/?(?:p|div|br|hr|t[dhr]|table|caption|li|[ou]l|d[ltd]|h[1-6]|pre|address|"
    r"blockquote|center|section|article|header|footer|main|nav|aside|fieldset|legend|"
    r"form|option|button|textarea|figure|figcaption|title|body)[\s/>])",
    re.IGNORECASE,
)
# What a template holds is no part of the tree; as another element it is.
_TEMPLATE = re.compile(r"<(/?)template(?=[\s/>])", re.IGNORECASE)
_ANY_TAG = re.compile(r"<[^<>]*>")
_META_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE
)
_HIDDEN = (
    "[hidden],[style*='none' i],[style*='hidden' i],[style*='font-size:0' i],"
    "[style*='font-size: 0' i]"
)
_NO_SIZE = re.compile(r"font-size:\s*0(?![.\d]*[1-9])", re.IGNORECASE)
_SPEAKING = ("alt", "title", "aria-label", "placeholder", "value", "content", "summary")
_SPEAKING_CSS = ",".join(f"[{name}]" for name in _SPEAKING)
_ADDRESSES = ("href", "src", "data", "action", "background")
_ADDRESSES_CSS = ",".join(
    f"[{name}*='{scheme}:' i]" for name in _ADDRESSES for scheme in ("data", "mailto")
)
# Pictures within the markup: no text, and often longer than all the rest.
_PICTURE = re.compile(r"data:image/(?:png|gif|jpe?g|webp|bmp);base64,[A-Za-z0-9+/=%]*+")
_CSS_CONTENT = re.compile(r"content\s*:\s*([^;}]*)", re.IGNORECASE)
_CSS_ESCAPE = re.compile(r"\\(?:([0-9A-Fa-f]{1,6})\s?|(.))", re.DOTALL)
_MAX_FRAMES = 3  # documents within documents


@dataclasses.dataclass(frozen=True, slots=True)
class Markup:
    """`complete` is False when the markup was too complex to be parsed as a browser.

    `opened` is False when it holds a file that we cannot read.
    """

    visible: str = dataclasses.field(repr=False)
    hidden: str = dataclasses.field(repr=False)
    complete: bool
    opened: bool = True


def meta_charset(octets: bytes) -> str | None:
    """The charset an HTML text names itself; counts only when MIME names none."""
    match = _META_CHARSET.search(octets, 0, 2048)
    return None if match is None else match[1].decode("ascii", "replace")


def read_html(html: str, frames: int = 0) -> Markup:
    """Split an HTML text in visible and hidden text.

    Args:
        html: The markup.
        frames: How many documents this one stands in.
    """
    html = _PICTURE.sub("", _TEMPLATE.sub(r"<\1div", html))
    spaced = _BLOCK.sub("\n<", html)
    if frames > _MAX_FRAMES or is_too_complex(spaced):
        return without_tags(spaced)
    tree = LexborHTMLParser(spaced)
    if tree.root is None:
        return Markup("", "", complete=True)
    hidden = [_comments(html), *_attributes(tree), *_code(tree), *_reversed(tree)]
    inner = _inner(tree, frames)
    hidden += [text for markup in inner for text in (markup.visible, markup.hidden)]
    tree.strip_tags(["script", "style"], recursive=True)
    for node in _outermost(tree.css(_HIDDEN)):
        hidden.append(node.text(separator=""))
        node.decompose()
    return Markup(
        tree.root.text(separator=""),
        "\n".join(filter(str.strip, hidden)),
        complete=all(markup.complete for markup in inner),
        opened=all(markup.opened for markup in inner),
    )


def without_tags(html: str) -> Markup:
    """What is left when markup is not parsed: all between the tags."""
    return Markup(unescape(_ANY_TAG.sub(" ", html)), "", complete=False)


def _inner(tree: LexborHTMLParser, frames: int) -> list[Markup]:
    """What stands in the addresses of links and in frames of this document."""
    found = [
        read_html(node.attributes.get("srcdoc") or "", frames + 1)
        for node in tree.css("[srcdoc]")
    ]
    for node in tree.css(_ADDRESSES_CSS):
        for name in _ADDRESSES:
            address = (node.attributes.get(name) or "").strip()
            if address.lower().startswith("mailto:"):
                text = unquote(address[7:]).replace("+", " ")
                found.append(Markup("", text, complete=True))
            elif "data:" in address.lower():
                found += [_file(octets, frames) for octets in data_uris(address)]
    return found


def _file(octets: bytes, frames: int) -> Markup:
    text = plain_text(octets)
    if text is None:
        opened = is_small_picture(octets)
        return Markup("", "", complete=True, opened=opened)
    return read_html(text, frames + 1)


def _code(tree: LexborHTMLParser) -> list[str]:
    """Texts that style sheets put in, and scripts."""
    styles = [node.text() for node in tree.css("style")]
    texts = [node.text() for node in tree.css("script")]
    for style in styles:
        texts += (_CSS_ESCAPE.sub(_unescape, t) for t in _CSS_CONTENT.findall(style))
    return texts


def _unescape(match: re.Match[str]) -> str:
    if match[2]:
        return match[2]
    code = int(match[1], 16)
    return chr(code) if code < 0x110000 else "\ufffd"  # noqa: PLR2004 - Unicode


def _reversed(tree: LexborHTMLParser) -> list[str]:
    """What is written backwards and shown forwards."""
    nodes = tree.css("bdo")
    return [node.text(separator="")[::-1] for node in _roots(nodes)]


def _comments(html: str) -> str:
    """Comments, without those that only steer one mail program."""
    if "<!--" not in html:
        return ""
    pieces = (part.partition("-->")[0] for part in html.split("<!--")[1:])
    return "\n".join(_ANY_TAG.sub(" ", piece) for piece in pieces)


def _attributes(tree: LexborHTMLParser) -> list[str]:
    texts: list[str] = []
    for node in tree.css(_SPEAKING_CSS):
        attributes = node.attributes
        texts.extend(attributes.get(name) or "" for name in _SPEAKING)
    return texts


def _outermost(nodes: list[LexborNode]) -> list[LexborNode]:
    """Nodes without those inside another: a node of a removed tree is not touched.

    The root elements stay: without them there is no tree left to read.
    """
    return _roots([node for node in nodes if _is_hidden(node)])


def _roots(nodes: list[LexborNode]) -> list[LexborNode]:
    ids = {node.mem_id for node in nodes}
    inside: dict[int, bool] = {}
    return [node for node in nodes if not _is_inside(node.parent, ids, inside)]


def _is_hidden(node: LexborNode) -> bool:
    if node.tag in {"html", "body"}:
        return False
    style = (node.attributes.get("style") or "").lower()
    if "hidden" in node.attributes or "none" in style or "hidden" in style:
        return True
    # Newsletters set no size around elements that set one again.
    return bool(_NO_SIZE.search(style)) and next(node.iter(), None) is None


def _is_inside(node: LexborNode | None, ids: set[int], inside: dict[int, bool]) -> bool:
    """Whether a node is one of some nodes or in one; each node is asked once."""
    path: list[int] = []
    answer = False
    while node is not None:
        at = node.mem_id
        path.append(at)
        if at in ids or at in inside:
            answer = at in ids or inside[at]
            break
        node = node.parent
    inside.update(dict.fromkeys(path, answer))
    return answer
