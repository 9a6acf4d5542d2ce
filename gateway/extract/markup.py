"""HTML to text: what a reader sees, and apart from it what hides in the markup.

Words that are cut by inline tags stay whole, blocks stay apart. Hidden text is read as
well: a recipient can find it, and another program may show it.
"""

import dataclasses
import re
from itertools import accumulate

from selectolax.lexbor import LexborHTMLParser, LexborNode

# A line end before each block, so that two cells do not become one word. In front of
# the tag it can do no harm inside attributes, comments or scripts.
_BLOCK = re.compile(
    r"<(?=/?(?:p|div|br|hr|t[dhr]|table|caption|li|[ou]l|d[ltd]|h[1-6]|pre|address|"
    r"blockquote|center|section|article|header|footer|main|nav|aside|fieldset|legend|"
    r"form|option|button|textarea|figure|figcaption|title|body)[\s/>])",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(/?)[A-Za-z]")
_ANY_TAG = re.compile(r"<[^<>]*>")
_META_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE
)
_HIDDEN = "[hidden],[style*='none' i],[style*='hidden' i]"
_SPEAKING = ("alt", "title", "aria-label", "placeholder", "value", "content", "summary")
_SPEAKING_CSS = ",".join(f"[{name}]" for name in _SPEAKING)
_MANY_TAGS = 4_000
_MAX_NESTING = 4_000  # the parser is quadratic in open elements: 4,000 take 20 ms


@dataclasses.dataclass(frozen=True, slots=True)
class Markup:
    """`complete` is False when the markup was too deep to be parsed as a browser."""

    visible: str = dataclasses.field(repr=False)
    hidden: str = dataclasses.field(repr=False)
    complete: bool


def meta_charset(octets: bytes) -> str | None:
    """The charset an HTML text names itself; counts only when MIME names none."""
    match = _META_CHARSET.search(octets, 0, 2048)
    return None if match is None else match[1].decode("ascii", "replace")


def read_html(html: str) -> Markup:
    """Split an HTML text in visible and hidden text."""
    spaced = _BLOCK.sub("\n<", html)
    if _is_too_deep(spaced):
        return Markup(_ANY_TAG.sub(" ", spaced), "", complete=False)
    tree = LexborHTMLParser(spaced)
    if tree.root is None:
        return Markup("", "", complete=True)
    hidden = [_comments(html), *_attributes(tree)]
    tree.strip_tags(["script", "style"], recursive=True)
    for node in _outermost(tree.css(_HIDDEN)):
        hidden.append(node.text(separator=""))
        node.decompose()
    visible = tree.root.text(separator="")
    return Markup(visible, "\n".join(filter(str.strip, hidden)), complete=True)


def _is_too_deep(html: str) -> bool:
    if html.count("<") < _MANY_TAGS:
        return False
    steps = (-1 if slash else 1 for slash in _TAG.findall(html))
    return max(accumulate(steps), default=0) > _MAX_NESTING


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
    nodes = [node for node in nodes if node.tag not in {"html", "body"}]
    ids = {node.mem_id for node in nodes}
    return [node for node in nodes if not _has_ancestor_in(node, ids)]


def _has_ancestor_in(node: LexborNode, ids: set[int]) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.mem_id in ids:
            return True
        parent = parent.parent
    return False
