"""Names of metrics that Ax can read: it evaluates them as expressions of SymPy's, which only words are safe for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sympy import Symbol, sympify

from surrogate_ax.errors import ArgumentError

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_metric_names(names: Iterable[str]) -> None:
    """Refuse a name that is no word, or that means something to Python or SymPy.

    Raises:
        ArgumentError: such a name.
    """
    for name in names:
        why = "it means something else there" if _WORD.fullmatch(name) else "letters, digits and _ make a name"
        if not _WORD.fullmatch(name) or not _is_free(name):
            raise ArgumentError(
                f"objective: Ax cannot read the metric names [{name!r}] ({why}). Use words such as my_score."
            )


def _is_free(word: str) -> bool:
    try:
        read = sympify(word)
    except Exception:  # noqa: BLE001  whatever SymPy makes of "lambda", "del" or "beta"
        return False
    return isinstance(read, Symbol) and read.name == word
