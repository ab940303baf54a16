"""Tiles of matrix products that stay in the processor's registers, for matrices so small that calling a BLAS costs more.

Each is written as what it compiles to (`numba.extending.intrinsic`), for no loop in Python says what belongs into registers.
Numbers are taken 64 bytes at a time, examples side by side: `LANES` says how many that are.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: Examples that are multiplied at once, in bytes of their numbers.
BYTES: Final = 64
#: Rows of a tile of `product`; rows and columns of one of `outer`: as many as registers hold, 32 of 64 bytes or 16 of 32.
#: More would be kept in memory. No bit of a product depends on it.
_WIDE: Final = bool(get_host_cpu_features().get("avx512f"))
ROWS: Final = 8 if _WIDE else 4
SIDE: Final = 4 if _WIDE else 2
_CONTRACT: Final = ["contract"]


def _vector(kind: Any) -> Any:
    if kind == types.float32:
        return ir.VectorType(ir.FloatType(), BYTES // 4)
    return ir.VectorType(ir.DoubleType(), BYTES // 8)


class _Array:
    """Numbers of an array from a place on, while code is written."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any, at: Any) -> None:
        self._builder, self._vector = builder, _vector(kind.dtype)
        self._align = BYTES // self._vector.count
        self._begin = builder.gep(context.make_array(kind)(context, builder, array).data, [at])

    def _place(self, at: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(self._begin, [at]), self._vector.as_pointer())

    def load(self, at: Any) -> Any:
        return self._builder.load(self._place(at), align=self._align)

    def store(self, value: Any, at: Any) -> None:
        self._builder.store(value, self._place(at), align=self._align)

    def spread(self, at: Any) -> Any:
        """Return one number, as often as a vector has numbers."""
        count, whole = self._vector.count, ir.IntType(32)
        nothing = ir.Constant(self._vector, ir.Undefined)
        number = self._builder.load(self._builder.gep(self._begin, [at]))
        first = self._builder.insert_element(nothing, number, ir.Constant(whole, 0))
        return self._builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(whole, count), [0] * count))


def _times(builder: Any, number: Any, value: int) -> Any:
    return builder.mul(number, ir.Constant(number.type, value))


def _add_product(builder: Any, place: Any, one: Any, other: Any) -> None:
    product = builder.fmul(one, other, flags=_CONTRACT)
    builder.store(builder.fadd(builder.load(place), product, flags=_CONTRACT), place)


def _product(rows: int) -> Any:
    def product(
        typing: Any,
        c: Any,
        c_at: Any,
        c_row: Any,
        a: Any,
        a_at: Any,
        a_row: Any,
        a_column: Any,
        b: Any,
        b_at: Any,
        b_row: Any,
        many: Any,
    ) -> tuple[Any, Callable[..., Any]]:
        n = types.intp

        def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row, many = given
            kinds = signature.args
            out = _Array(context, builder, kinds[0], c, c_at)
            left, right = _Array(context, builder, kinds[3], a, a_at), _Array(context, builder, kinds[7], b, b_at)
            sums = [cgutils.alloca_once(builder, _vector(kinds[0].dtype)) for _ in range(rows)]
            for r, place in enumerate(sums):
                builder.store(out.load(_times(builder, c_row, r)), place)
            with cgutils.for_range(builder, many, intp=many.type) as loop:
                seen = right.load(builder.mul(loop.index, b_row))
                column = builder.mul(loop.index, a_column)
                for r, place in enumerate(sums):
                    weight = left.spread(builder.add(column, _times(builder, a_row, r)))
                    _add_product(builder, place, weight, seen)
            for r, place in enumerate(sums):
                out.store(builder.load(place), _times(builder, c_row, r))
            return context.get_dummy_value()

        return types.void(c, n, n, a, n, n, n, b, n, n, n), write

    product.__doc__ = (
        f"Do ``c[r] += Σ a[r, k] b[k]`` for {rows} rows of vectors; places, and how far rows and columns are apart."
    )
    return intrinsic(product)


def _outer(side: int) -> Any:
    def outer(
        typing: Any,
        c: Any,
        c_at: Any,
        c_row: Any,
        c_column: Any,
        a: Any,
        a_at: Any,
        a_row: Any,
        a_step: Any,
        b: Any,
        b_at: Any,
        b_row: Any,
        b_step: Any,
        many: Any,
    ) -> tuple[Any, Callable[..., Any]]:
        n = types.intp

        def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            c, c_at, c_row, c_column, a, a_at, a_row, a_step, b, b_at, b_row, b_step, many = given
            kinds = signature.args
            vector = _vector(kinds[0].dtype)
            out = _Array(context, builder, kinds[0], c, c_at)
            left, right = _Array(context, builder, kinds[4], a, a_at), _Array(context, builder, kinds[8], b, b_at)
            sums = [cgutils.alloca_once(builder, vector) for _ in range(side * side)]
            places = [
                builder.add(_times(builder, c_row, r), _times(builder, c_column, s))
                for r in range(side)
                for s in range(side)
            ]
            for place, at in zip(sums, places, strict=True):
                builder.store(out.load(at), place)
            with cgutils.for_range(builder, many, intp=many.type) as loop:
                above, beside = builder.mul(loop.index, a_step), builder.mul(loop.index, b_step)
                seen = [right.load(builder.add(beside, _times(builder, b_row, s))) for s in range(side)]
                for r in range(side):
                    slope = left.load(builder.add(above, _times(builder, a_row, r)))
                    for s in range(side):
                        _add_product(builder, sums[r * side + s], slope, seen[s])
            for place, at in zip(sums, places, strict=True):
                out.store(builder.load(place), at)
            return context.get_dummy_value()

        return types.void(c, n, n, n, a, n, n, n, b, n, n, n, n), write

    outer.__doc__ = (
        f"Do ``c[r, s] += Σ a[t, r] b[t, s]`` for {side} × {side} vectors, number by number; places, and how far rows, "
        "columns and steps t are apart."
    )
    return intrinsic(outer)


#: Whole tiles, and what is left at the edges.
product, product_of_one = _product(ROWS), _product(1)
outer, outer_of_one = _outer(SIDE), _outer(1)
