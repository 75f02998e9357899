"""How much memory a model's constants grow into before it has seen a single input.

ONNX Runtime computes what depends on constants alone when it loads a model, so that a ConstantOfShape of 64 bytes can
take gigabytes (its issue 28730). This follows shapes and short integer values from node to node, charges what an
output is larger than its largest input, and refuses a model that grows by more than MAX_GROWTH. Operators it does not
know yield "unknown", never an error: it is the static half of the guard, a loader with a memory limit is the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import BundleError
from .jsonio import shown
from .onnx_tensor import MAX_RANK, MAX_VALUES, Tensor, product

MAX_GROWTH = 256 * 1024 * 1024

Number = int | float
Attribute = int | float | tuple[Number, ...] | Tensor
Inputs = Sequence[Tensor | None]

_KEEPING = frozenset({"Abs", "Ceil", "Erf", "Exp", "Floor", "Log", "Neg", "Not", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign",
                      "Softmax", "Sqrt", "Tanh", "DequantizeLinear", "QuantizeLinear", "Clip"})
_BROADCASTING = frozenset({"Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
                           "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"})
_ARITHMETIC: dict[str, Callable[[Number, Number], Number]] = {
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b,
    "Max": max, "Min": min, "Div": lambda a, b: (a // b if isinstance(a, int) and isinstance(b, int) else a / b) if b else 0,
}


@dataclass(frozen=True)
class Node:
    """One operator: its inputs and outputs by name, its attributes as far as they are numbers or tensors."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


class Constants:
    """What is known of the values of one model; `add` and `run` are called in the order of the graph."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._known: dict[str, Tensor] = {}
        self._growth = 0

    def add(self, tensor: Tensor) -> None:
        """An initialiser."""
        self._known[tensor.name] = tensor

    def run(self, node: Node) -> None:
        """One node. Raises BundleError when the constants have grown beyond MAX_GROWTH."""
        inputs = [self._known.get(name) for name in node.inputs]
        result = _result(node, inputs)
        if result is None or not node.outputs:
            return
        if node.op != "Constant":
            held = max((tensor.count * tensor.bits for tensor in inputs if tensor), default=0)
            self._growth += max(0, result.count * result.bits - held) // 8
        if self._growth > MAX_GROWTH:
            raise BundleError(f"{self._where}: the node {shown(node.op)} makes constants of {_round(self._growth)} bytes "
                              f"out of this file (the limit is {MAX_GROWTH:,})")
        # A lower bound stands for an output whose exact shape is unknown; it may be charged but not built upon.
        if result.name != _BOUND:
            self._known[node.outputs[0]] = result


_BOUND = "a lower bound"


def _result(node: Node, inputs: Inputs) -> Tensor | None:
    if node.op in _RULES:
        return _RULES[node.op](node, inputs)
    if not inputs or any(tensor is None for tensor in inputs[:1]):
        return None
    if node.op in _KEEPING:
        first = inputs[0]
        return Tensor("", first.shape, max(first.bits, 32)) if first else None
    return _broadcast_all(node, inputs) if node.op in _BROADCASTING else None


def _constant(node: Node, inputs: Inputs) -> Tensor | None:
    for key in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        held = node.attributes.get(key)
        if isinstance(held, Tensor):
            return held
        if isinstance(held, tuple):
            return Tensor("", (len(held),), 64, held if len(held) <= MAX_VALUES else None)
        if held is not None:
            return Tensor("", (), 64, (held,))
    return None


def _constant_of_shape(node: Node, inputs: Inputs) -> Tensor | None:
    shape = _shape_in(inputs, 0)
    fill = node.attributes.get("value")
    bits, values = (fill.bits, fill.values) if isinstance(fill, Tensor) else (32, (0.0,))
    if shape is None:
        return None
    small = product(shape) <= MAX_VALUES and values is not None and len(values) == 1
    return Tensor("", shape, bits, values * product(shape) if small and values else None)


def _expand(node: Node, inputs: Inputs) -> Tensor | None:
    shape, source = _shape_in(inputs, 1), inputs[0] if inputs else None
    if shape is None:
        return None
    if source is None:
        return Tensor(_BOUND, shape, 8)
    return Tensor("", _broadcast([source.shape, shape]) or shape, source.bits)


def _tile(node: Node, inputs: Inputs) -> Tensor | None:
    repeats, source = _shape_in(inputs, 1), inputs[0] if inputs else None
    if repeats is None:
        return None
    if source is None or len(source.shape) != len(repeats):
        return Tensor(_BOUND, repeats, 8)
    return Tensor("", tuple(size * times for size, times in zip(source.shape, repeats, strict=True)), source.bits)


def _range(node: Node, inputs: Inputs) -> Tensor | None:
    if len(inputs) != 3 or not all(tensor and tensor.values and len(tensor.values) == 1 for tensor in inputs):
        return None
    start, limit, delta = (tensor.values[0] for tensor in inputs if tensor and tensor.values)
    if not all(math.isfinite(value) for value in (start, limit, delta)) or delta == 0:
        return Tensor(_BOUND, (2**62,), 64)
    steps = (limit - start) / delta
    return Tensor("", (max(0, math.ceil(steps)) if math.isfinite(steps) else 2**62,), 64)


def _pad(node: Node, inputs: Inputs) -> Tensor | None:
    pads = node.attributes.get("pads")
    if not isinstance(pads, tuple):
        pads = inputs[1].values if len(inputs) > 1 and inputs[1] else None
    if not pads or not all(math.isfinite(pad) for pad in pads):
        return None
    grown = [max(0, int(before) + int(after)) for before, after in zip(pads, pads[len(pads) // 2:], strict=False)]
    source = inputs[0] if inputs else None
    if source and len(source.shape) == len(grown):
        return Tensor("", tuple(size + more for size, more in zip(source.shape, grown, strict=True)), source.bits)
    return Tensor(_BOUND, tuple(max(1, more) for more in grown), 8)


def _resize(node: Node, inputs: Inputs) -> Tensor | None:
    sizes = _shape_in(inputs, 3)
    if sizes:
        return Tensor(_BOUND, sizes, 8)
    scales = next((tensor.values for tensor in inputs[1:] if tensor and tensor.values), None)
    held = node.attributes.get("scales")
    scales = held if isinstance(held, tuple) else scales
    if not scales or not all(math.isfinite(scale) for scale in scales):
        return None
    source = inputs[0] if inputs else None
    shape = source.shape if source and len(source.shape) == len(scales) else (1,) * len(scales)
    return Tensor(_BOUND, tuple(max(0, int(size * scale)) for size, scale in zip(shape, scales, strict=True)), 8)


def _from_numbers(node: Node, inputs: Inputs) -> Tensor | None:
    """Operators that make as many elements as their first inputs say: windows, mel weights, one-hot vectors."""
    first, last = {"OneHot": (1, 2), "MelWeightMatrix": (0, 2)}.get(node.op, (0, 1))
    counts = [tensor.values[0] for tensor in inputs[first:last] if tensor and tensor.values]
    if len(counts) != last - first or not all(math.isfinite(count) for count in counts):
        return None
    rows = inputs[0].count if node.op == "OneHot" and inputs[0] else 1
    return Tensor(_BOUND, (rows, *(max(0, int(count)) for count in counts)), 32)


def _from_attributes(node: Node, inputs: Inputs) -> Tensor | None:
    """Operators whose attribute is the shape of their output: random numbers, samples."""
    shape = node.attributes.get("shape", node.attributes.get("sample_size"))
    sizes = shape if isinstance(shape, tuple) else (shape,) if isinstance(shape, int) else ()
    return Tensor(_BOUND, tuple(max(0, int(size)) for size in sizes), 32) if sizes else None


def _concat(node: Node, inputs: Inputs) -> Tensor | None:
    known = [tensor for tensor in inputs if tensor]
    axis = node.attributes.get("axis", 0)
    if not known or len(known) != len(inputs) or not isinstance(axis, int):
        return None
    shape = list(known[0].shape)
    if not -len(shape) <= axis < len(shape) or any(len(tensor.shape) != len(shape) for tensor in known):
        return None
    shape[axis] = sum(tensor.shape[axis] for tensor in known)
    values = tuple(value for tensor in known for value in tensor.values or ())
    complete = len(shape) == 1 and len(values) == shape[0] <= MAX_VALUES
    return Tensor("", tuple(shape), known[0].bits, values if complete else None)


def _same_values(node: Node, inputs: Inputs) -> Tensor | None:
    source = inputs[0] if inputs else None
    return Tensor("", source.shape, max(source.bits, 64 if node.op == "Cast" else 0), source.values) if source else None


def _shape(node: Node, inputs: Inputs) -> Tensor | None:
    source = inputs[0] if inputs else None
    if source is None:
        return None
    if node.op == "Size":
        return Tensor("", (), 64, (source.count,))
    return None if node.attributes else Tensor("", (len(source.shape),), 64, source.shape)


def _reshape(node: Node, inputs: Inputs) -> Tensor | None:
    source, wanted = inputs[0] if inputs else None, inputs[1].values if len(inputs) > 1 and inputs[1] else None
    if source is None or wanted is None:
        return None
    shape = [source.shape[at] if size == 0 and at < len(source.shape) else int(size) for at, size in enumerate(wanted)]
    if shape.count(-1) == 1:
        rest = product(tuple(size for size in shape if size != -1))
        shape[shape.index(-1)] = source.count // rest if rest else 0
    if product(tuple(shape)) != source.count or any(size < 0 for size in shape):
        return None
    return Tensor("", tuple(shape), source.bits, source.values)


def _unsqueeze(node: Node, inputs: Inputs) -> Tensor | None:
    source, axes = inputs[0] if inputs else None, node.attributes.get("axes")
    if axes is None and len(inputs) > 1 and inputs[1]:
        axes = inputs[1].values
    if source is None or not isinstance(axes, tuple):
        return None
    rank = len(source.shape) + len(axes)
    places = {int(axis) + rank * (axis < 0) for axis in axes}
    if len(places) != len(axes) or not all(0 <= place < rank for place in places) or rank > MAX_RANK:
        return None
    left = iter(source.shape)
    return Tensor("", tuple(1 if place in places else next(left) for place in range(rank)), source.bits, source.values)


def _transpose(node: Node, inputs: Inputs) -> Tensor | None:
    source, order = inputs[0] if inputs else None, node.attributes.get("perm")
    if source is None:
        return None
    if not isinstance(order, tuple):
        order = tuple(reversed(range(len(source.shape))))
    if sorted(order) != list(range(len(source.shape))):
        return None
    return Tensor("", tuple(source.shape[int(axis)] for axis in order), source.bits)


def _matmul(node: Node, inputs: Inputs) -> Tensor | None:
    if len(inputs) < 2 or inputs[0] is None or inputs[1] is None or min(len(inputs[0].shape), len(inputs[1].shape)) < 2:
        return None
    left, right = inputs[0].shape, inputs[1].shape
    batch = _broadcast([left[:-2], right[:-2]])
    return None if batch is None else Tensor("", (*batch, left[-2], right[-1]), inputs[0].bits)


def _broadcast_all(node: Node, inputs: Inputs) -> Tensor | None:
    known = [tensor for tensor in inputs if tensor]
    shape = _broadcast([tensor.shape for tensor in known]) if len(known) == len(inputs) else None
    if shape is None:
        return None
    values = None
    if node.op in _ARITHMETIC and len(known) == 2 and product(shape) <= MAX_VALUES and len(shape) <= 1:
        sides = [tensor.values * (product(shape) // max(1, len(tensor.values))) for tensor in known if tensor.values]
        if len(sides) == 2 and len(sides[0]) == len(sides[1]):
            values = tuple(_ARITHMETIC[node.op](a, b) for a, b in zip(*sides, strict=True))
    return Tensor("", shape, max(tensor.bits for tensor in known), values)


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The common shape by numpy's rule; None where there is none."""
    rank = max((len(shape) for shape in shapes), default=0)
    result = []
    for at in range(1, rank + 1):
        sizes = {shape[-at] for shape in shapes if len(shape) >= at} - {1}
        if len(sizes) > 1:
            return None
        result.append(sizes.pop() if sizes else 1)
    return tuple(reversed(result))


def _shape_in(inputs: Inputs, at: int) -> tuple[int, ...] | None:
    """The values of input `at` as a shape, negative sizes as 0; None where they are unknown."""
    tensor = inputs[at] if len(inputs) > at else None
    if tensor is None or tensor.values is None or not all(math.isfinite(value) for value in tensor.values):
        return None
    return tuple(max(0, int(value)) for value in tensor.values)


def _round(count: int) -> str:
    return f"{count:,}" if count < 10**15 else f"about 10^{len(str(count)) - 1}"


_RULES: dict[str, Callable[[Node, Inputs], Tensor | None]] = {
    "Constant": _constant, "ConstantOfShape": _constant_of_shape, "Expand": _expand, "Tile": _tile, "Range": _range, "Pad": _pad,
    "Resize": _resize, "Upsample": _resize, "OneHot": _from_numbers, "MelWeightMatrix": _from_numbers, "HannWindow": _from_numbers,
    "HammingWindow": _from_numbers, "BlackmanWindow": _from_numbers, "RandomNormal": _from_attributes, "RandomUniform": _from_attributes,
    "Multinomial": _from_attributes, "Concat": _concat, "Identity": _same_values, "Cast": _same_values, "Shape": _shape, "Size": _shape,
    "Reshape": _reshape, "Unsqueeze": _unsqueeze, "Transpose": _transpose, "MatMul": _matmul,
}
