"""One BLAS thread while small matrices are factorised.

On two loaded cores two OpenBLAS threads were measured six times slower than one at 240 links.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

WORTH_IT = 128  # rows below which BLAS does not start threads


@lru_cache(maxsize=1)
def _controller() -> Any:
    """What is known about the loaded BLAS libraries, or None without threadpoolctl."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


@contextmanager
def one_thread(rows: int) -> Iterator[None]:
    """Limit BLAS to one thread inside the block, where the matrix is large enough to matter."""
    controller = _controller() if rows >= WORTH_IT else None
    if controller is None:
        yield
        return
    with controller.limit(limits=1, user_api="blas"):
        yield
