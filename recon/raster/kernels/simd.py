"""A vector of float32 lanes as a numba type, so that kernels can say what runs side by side.

A `Vec` is a patch of pixels, 2 rows of 8 columns: one AVX-512 register, two AVX2 registers
(whose two chains of operations hide each other's latency), four of SSE or NEON. A patch fits
the small round footprints of Gaussians better than 16 pixels in a row. Inside an @njit function:

    load(array, i, stride)               array[i : i + 8] and array[i + stride : i + stride + 8]
    store(array, i, stride, v)           of a 1-D float32 array
    splat(x), column(), row()            x in every lane; 0..7, 0..7; 0 x 8, 1 x 8
    a + b, a - b, a * b, a / b, -a       lane by lane, one side may be a float32 scalar
    a > b, a >= b -> Mask                select(m, a, b), any_lane(m)
    minimum(a, b), absolute(a), exp2(a), lane_sum(a)
    prefetch(array2d, row)               ask for a row that is needed soon

`a * b + c` may be fused into one rounding; nothing else is reordered. Masks cannot be combined:
narrower machines would pack and unpack them; fold conditions into values instead.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

ROWS, COLUMNS = 2, 8
LANES = ROWS * COLUMNS
_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_VEC = ir.VectorType(_F32, LANES)
_HALF = ir.VectorType(_F32, COLUMNS)
_FUSE = ("contract",)


class _Lanes(types.Type):
    pass


vec = _Lanes("Vec")
mask = _Lanes("Mask")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        element = _F32 if fe_type is vec else ir.IntType(1)
        super().__init__(manager, fe_type, ir.VectorType(element, LANES))


def _constant(value: float) -> ir.Constant:
    """`value`, rounded to float32, in every lane."""
    return _lanes([np.float32(value)] * LANES)


def _splat(builder, scalar):
    if scalar.type == _VEC:
        return scalar
    undefined = ir.Constant(_VEC, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, _indices(*[0] * LANES))


_PAIRS = [(vec, vec), (vec, types.float32), (types.float32, vec)]


@infer_global(operator.add)
@infer_global(operator.iadd)
@infer_global(operator.sub)
@infer_global(operator.mul)
@infer_global(operator.truediv)
class _Arithmetic(ConcreteTemplate):
    cases = [signature(vec, *pair) for pair in _PAIRS]


@infer_global(operator.gt)
@infer_global(operator.ge)
class _Comparison(ConcreteTemplate):
    cases = [signature(mask, *pair) for pair in _PAIRS]


@infer_global(operator.neg)
class _Negate(ConcreteTemplate):
    cases = [signature(vec, vec)]


def _lower_pairs(op, emit) -> None:
    def lower(context, builder, sig, args):
        return emit(builder, *(_splat(builder, v) for v in args))

    for pair in _PAIRS:
        lower_builtin(op, *pair)(lower)


_lower_pairs(operator.add, lambda b, x, y: b.fadd(x, y, flags=_FUSE))
_lower_pairs(operator.iadd, lambda b, x, y: b.fadd(x, y, flags=_FUSE))
_lower_pairs(operator.sub, lambda b, x, y: b.fsub(x, y, flags=_FUSE))
_lower_pairs(operator.mul, lambda b, x, y: b.fmul(x, y, flags=_FUSE))
_lower_pairs(operator.truediv, lambda b, x, y: b.fdiv(x, y))
_lower_pairs(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y))
_lower_pairs(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y))


@lower_builtin(operator.neg, vec)
def _lower_negate(context, builder, sig, args):
    return builder.fneg(args[0])


def _indices(*values: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(values)), [ir.Constant(_I32, v) for v in values])


def _row_addresses(context, builder, array_type, array, index, stride):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return [
        builder.bitcast(builder.gep(data, [i]), _HALF.as_pointer())
        for i in (index, builder.add(index, stride))
    ]


@intrinsic
def load(typingctx, array, index, stride):
    """The patch that starts at array[index], rows `stride` apart; not bounds-checked."""

    def codegen(context, builder, sig, args):
        rows = _row_addresses(context, builder, sig.args[0], *args)
        return builder.shuffle_vector(
            *(builder.load(r, align=4) for r in rows), _indices(*range(LANES))
        )

    return vec(array, types.intp, types.intp), codegen


@intrinsic
def store(typingctx, array, index, stride, value):
    """Write the patch that starts at array[index], rows `stride` apart; not bounds-checked."""

    def codegen(context, builder, sig, args):
        rows = _row_addresses(context, builder, sig.args[0], *args[:3])
        for k, address in enumerate(rows):
            lanes = _indices(*range(k * COLUMNS, (k + 1) * COLUMNS))
            half = builder.shuffle_vector(args[3], ir.Constant(_VEC, ir.Undefined), lanes)
            builder.store(half, address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vec), codegen


@intrinsic
def splat(typingctx, scalar):
    """`scalar` in every lane."""
    return vec(types.float32), lambda context, builder, sig, args: _splat(builder, args[0])


def _lanes(values) -> ir.Constant:
    return ir.Constant(_VEC, [ir.Constant(_F32, float(v)) for v in values])


@intrinsic
def column(typingctx):
    """Column of each lane in its patch: 0..7, 0..7."""
    lanes = _lanes(k % COLUMNS for k in range(LANES))
    return vec(), lambda context, builder, sig, args: lanes


@intrinsic
def row(typingctx):
    """Row of each lane in its patch: 0 eight times, 1 eight times."""
    lanes = _lanes(k // COLUMNS for k in range(LANES))
    return vec(), lambda context, builder, sig, args: lanes


@intrinsic
def select(typingctx, condition, if_true, if_false):
    """Lane by lane choice; either value may be a scalar."""

    def codegen(context, builder, sig, args):
        return builder.select(args[0], _splat(builder, args[1]), _splat(builder, args[2]))

    return vec(mask, if_true, if_false), codegen


@intrinsic
def any_lane(typingctx, condition):
    """Whether any lane is true."""

    def codegen(context, builder, sig, args):
        as_bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", as_bits, ir.Constant(as_bits.type, 0))

    return types.boolean(mask), codegen


def _minimum(builder, a, b):
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@intrinsic
def minimum(typingctx, a, b):
    """The smaller of two lanes, or of a lane and a scalar."""

    def codegen(context, builder, sig, args):
        return _minimum(builder, *(_splat(builder, v) for v in args))

    return vec(a, b), codegen


@intrinsic
def absolute(typingctx, value):
    """Lanes without their sign."""

    def codegen(context, builder, sig, args):
        whole = ir.VectorType(_I32, LANES)
        magnitude = ir.Constant(whole, [ir.Constant(_I32, 0x7FFFFFFF)] * LANES)
        return builder.bitcast(builder.and_(builder.bitcast(args[0], whole), magnitude), _VEC)

    return vec(vec), codegen


@intrinsic
def lane_sum(typingctx, value):
    """Sum of the lanes, pairwise: the order is fixed, so results repeat bit for bit."""

    def codegen(context, builder, sig, args):
        total, width = args[0], LANES
        while width > 1:
            width //= 2
            low, high = _indices(*range(width)), _indices(*range(width, 2 * width))
            undefined = ir.Constant(total.type, ir.Undefined)
            total = builder.fadd(
                builder.shuffle_vector(total, undefined, low),
                builder.shuffle_vector(total, undefined, high),
            )
        return builder.extract_element(total, ir.Constant(_I32, 0))

    return types.float32(vec), codegen


# 2^x on -1/2..1/2, lowest power first
_EXP2 = (1.0000001, 0.69314694, 0.2402212, 5.5507135e-2, 9.675541e-3, 1.3276464e-3)
# a float this large has no fraction bits left: adding it rounds, and leaves the integer in the
# lowest mantissa bits
_ROUNDER = 1.5 * 2**23


@intrinsic
def exp2(typingctx, value):
    """2 to the power of each lane for lanes in -125..125, anything at all outside.

    Relative error below 3e-7.
    """

    def codegen(context, builder, sig, args):
        def fused(a, b, c):
            return builder.fadd(builder.fmul(a, b, flags=_FUSE), c, flags=_FUSE)

        shifted = builder.fadd(args[0], _constant(_ROUNDER))
        x = builder.fsub(args[0], builder.fsub(shifted, _constant(_ROUNDER)))
        c = [_constant(v) for v in _EXP2]
        # by pairs rather than Horner: a shorter chain of operations that wait for each other
        square = builder.fmul(x, x)
        low, middle, high = (fused(c[k + 1], x, c[k]) for k in (0, 2, 4))
        fraction = fused(fused(high, square, middle), square, low)
        whole = ir.VectorType(_I32, LANES)
        shift = ir.Constant(whole, [ir.Constant(_I32, 23)] * LANES)
        exponent = builder.shl(builder.bitcast(shifted, whole), shift)
        return builder.bitcast(builder.add(builder.bitcast(fraction, whole), exponent), _VEC)

    return vec(vec), codegen


@intrinsic
def prefetch(typingctx, array, row):
    """Bring the first cache line of array[row] (C-contiguous 2-D) near; any row is harmless."""

    def codegen(context, builder, sig, args):
        proxy = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0])
        stride = builder.extract_value(proxy.strides, 0)
        data = builder.bitcast(proxy.data, ir.IntType(8).as_pointer())
        pointer = builder.gep(data, [builder.mul(stride, args[1])])
        prototype = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], prototype)
        builder.call(function, [pointer, *(ir.Constant(_I32, v) for v in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen
