"""How values show themselves in a notebook: a heading, a few facts and, where there are any, bars or pictures.

Only `_repr_html_` methods call this. What comes from outside is escaped, nothing is fetched, and no generator runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_LINE = "padding:1px 14px 1px 0;text-align:left;vertical-align:top"
_COLOURS = ("#4269d0", "#97bbf5", "#3ca951", "#9bdfaa", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#9c6b4e")
_OTHERS = "#bbbbbb"
LONGEST = 200  # characters of a fact
MOST = 12  # bars of one mixture; the rest is one more


def card(title: str, facts: Mapping[str, object], body: str = "") -> str:
    """A heading, facts by name, and what is below them.

    Args:
        title: plain text.
        facts: plain text by name; what is empty is left out.
        body: HTML of this package.
    """
    cell = f'<td style="{_LINE}">'
    rows = "".join(
        f"<tr>{cell}{escape(name)}</td>{cell}{escape(_cut(str(fact)))}</td></tr>"
        for name, fact in facts.items()
        if str(fact)
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table>{body}</div>"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def mixture(shares: Sequence[tuple[str, float]], *, width: int = 420, height: int = 16) -> str:
    """What something is made of, as one bar: the squares of the weights, the largest first.

    Args:
        shares: names and weights.
        width: of the bar, in pixels.
        height: of the bar, in pixels.
    """
    ranked = sorted(enumerate(shares), key=lambda place: -(place[1][1] ** 2))
    total = sum(weight**2 for _, weight in shares)
    if not total > 0:
        return ""
    shown = [(w * w / total, f"{name}: {w:+.3f}", _COLOURS[i % len(_COLOURS)]) for i, (name, w) in ranked[:MOST]]
    if rest := ranked[MOST:]:
        shown.append((sum(w * w for _, (_, w) in rest) / total, f"{len(rest)} others", _OTHERS))
    parts, left = [], 0.0
    for share, label, colour in shown:
        parts.append(
            f'<rect x="{width * left:.1f}" width="{width * share:.1f}" height="{height}" fill="{colour}">'
            f"<title>{escape(label)}</title></rect>"
        )
        left += share
    return f'<svg width="{width}" height="{height}" role="img" aria-label="weights">{"".join(parts)}</svg>'


def one_line(name: str, *facts: object) -> str:
    """A `__repr__`: the name of a class and a few facts, those that are empty left out."""
    return f"{name}({', '.join(text for fact in facts if (text := ' '.join(str(fact).split())))})"
