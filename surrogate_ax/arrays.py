"""The array type of signatures: NumPy's. Docstrings give shapes, and dtypes where they are not float64."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
