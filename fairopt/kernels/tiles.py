"""What numba cannot say: an address as a pointer, and a tile of inner products in fixed lanes.

Numba would decide itself how a loop of products is spread over the lanes of a vector, and would add
up the lanes after every short loop; here the order of all additions is written down, so that their
rounding can be bounded (`additions`), and sixteen sums stay in registers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils

from fairopt.kernels.jit import intrinsic

TILE = 4  # rows on either side
STEPS = 16  # products that a lane adds before it starts from zero again


def lanes_of(features: Mapping[str, bool]) -> int:
    """Lanes of a vector for which a processor with these features has registers enough."""
    if features.get("avx512f"):
        return 8
    return 4 if features.get("avx") else 2


def _features() -> Mapping[str, bool]:
    """Those of this processor; none where LLVM cannot tell."""
    try:
        return dict(binding.get_host_cpu_features())
    except RuntimeError:
        return {}


LANES = lanes_of(_features())
RUN = LANES * STEPS  # entries of a row that a tile takes at a time
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_BYTES = 8 * LANES


def additions(runs: int) -> int:
    """Roundings of a product of two entries on its way into a sum of so many runs.

    Its own (none for float32 and narrower), those of its lane, of the runs, and of the lanes.
    """
    return 1 + (STEPS - 1) + (runs - 1) + (LANES - 1).bit_length()


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for the cache line of an address, which may lie anywhere; nothing waits for it."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        number, where = ir.IntType(32), builder.inttoptr(values[0], cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [where.type, number, number, number])
        declared = builder.module.declare_intrinsic("llvm.prefetch", [where.type], kind)
        reading, second_level, data = number(0), number(2), number(1)
        builder.call(declared, [where, reading, second_level, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def add_tile(typing: Any, a: Any, b: Any, stride: Any, runs: Any, sums: Any) -> Any:
    """Add the 16 inner products of four rows with four rows to sums of two floats.

    Args:
        typing: Numba's.
        a: Address of the first four rows, of runs * `RUN` float64 numbers each.
        b: Address of the other four.
        stride: Bytes from one row to the next.
        runs: Their number.
        sums: Address of 16 first and then 16 second floats, one for each pair (i, j) of rows.
    """
    return _SIGNATURE, lambda context, builder, signature, values: _tile(
        context, builder, values, [(i, j) for i in range(TILE) for j in range(TILE)]
    )


@intrinsic
def add_triangle(typing: Any, a: Any, b: Any, stride: Any, runs: Any, sums: Any) -> Any:
    """The same for four rows with themselves, a = b: the pairs with i >= j."""
    return _SIGNATURE, lambda context, builder, signature, values: _tile(
        context, builder, values, [(i, j) for i in range(TILE) for j in range(i + 1)]
    )


_SIGNATURE = types.void(*(types.int64,) * 5)

Pairs = Sequence[tuple[int, int]]


def _tile(context: Any, builder: ir.IRBuilder, values: Any, pairs: Pairs) -> Any:
    """The instructions for some of the pairs; sums of the others stay as they are."""
    first, second, stride, runs, sums = values
    rows = [
        [builder.add(group, builder.mul(stride, stride.type(k))) for k in range(TILE)]
        for group in (first, second)
    ]
    zero = ir.Constant(_VECTOR, [ir.Constant(ir.DoubleType(), 0.0)] * LANES)
    totals = _variables(builder, zero, len(pairs))
    with cgutils.for_range(builder, runs) as loop:
        parts = _variables(builder, zero, len(pairs))
        begin = builder.mul(loop.index, stride.type(_BYTES * STEPS))
        with cgutils.for_range(builder, stride.type(STEPS)) as step:
            offset = builder.add(begin, builder.mul(step.index, stride.type(_BYTES)))
            _add_products(builder, rows, offset, dict(zip(pairs, parts, strict=True)))
        for total, part in zip(totals, parts, strict=True):
            builder.store(builder.fadd(builder.load(total), builder.load(part)), total)
    found = {pair: builder.load(total) for pair, total in zip(pairs, totals, strict=True)}
    square = [found.get((i, j), zero) for i in range(TILE) for j in range(TILE)]
    for k, vector in enumerate(_lanes_added(builder, square)):
        high = builder.add(sums, stride.type(_BYTES * k))
        _add_to_pairs(builder, vector, high, builder.add(high, stride.type(8 * TILE**2)))
    return context.get_dummy_value()


def _variables(builder: ir.IRBuilder, value: Any, count: int) -> list[Any]:
    """So many vectors that are set to a value here; they become registers."""
    variables = [cgutils.alloca_once(builder, _VECTOR) for _ in range(count)]
    for variable in variables:
        builder.store(value, variable)
    return variables


def _load(builder: ir.IRBuilder, address: Any) -> Any:
    """The vector at an address."""
    return builder.load(builder.inttoptr(address, _VECTOR.as_pointer()), align=8)


def _store(builder: ir.IRBuilder, vector: Any, address: Any) -> None:
    """Write a vector to an address."""
    builder.store(vector, builder.inttoptr(address, _VECTOR.as_pointer()), align=8)


def _add_products(builder: ir.IRBuilder, rows: Any, offset: Any, parts: Any) -> None:
    """One step: a vector of each row, and the products of pairs; multiply-add rounds once."""
    x, y = (
        [_load(builder, builder.add(row, offset)) for row in group]  # eight loads for 16 products
        for group in rows
    )
    fused = ("contract",)
    for (i, j), part in parts.items():
        product = builder.fmul(x[i], y[j], flags=fused)
        builder.store(builder.fadd(builder.load(part), product, flags=fused), part)


def _lanes_added(builder: ir.IRBuilder, vectors: list[Any]) -> list[Any]:
    """The sums of the lanes of 16 vectors, one in each lane of the results, added by halves."""
    word = ir.IntType(32)
    even, odd = (
        ir.Constant(ir.VectorType(word, LANES), [word(2 * k + first) for k in range(LANES)])
        for first in (0, 1)
    )
    while len(vectors) * LANES > TILE**2:
        vectors = [
            builder.fadd(builder.shuffle_vector(u, v, even), builder.shuffle_vector(u, v, odd))
            for u, v in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors


def _add_to_pairs(builder: ir.IRBuilder, x: Any, high: Any, low: Any) -> None:
    """`double_double.two_sum` of the first floats at `high` and x; what is lost goes to `low`."""
    old = _load(builder, high)
    total = builder.fadd(old, x)
    part = builder.fsub(total, old)
    lost = builder.fadd(builder.fsub(old, builder.fsub(total, part)), builder.fsub(x, part))
    _store(builder, total, high)
    _store(builder, builder.fadd(_load(builder, low), lost), low)
