"""Whether an ONNX file is data and nothing more, decided before a runtime sees it and without the onnx library.

Field numbers: onnx.proto of ONNX 1.23. What is refused, and why, is listed in FORMAT.md.
"""

from __future__ import annotations

from ..errors import BundleError
from .jsonio import shown
from .onnx_constants import Attribute, Constants, Node
from .onnx_tensor import Tensor, read_float, read_tensor
from .onnx_wire import BYTES, VARINT, count_varints, fields, integers, message, signed, string

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
MAX_OPSETS = {"": 28, "ai.onnx": 28, "ai.onnx.ml": 5, "com.microsoft": 1}
"""The newest operator sets that ONNX Runtime 1.32 knows."""
MAX_IR = 14
MAX_BYTES = 2 * 1024**3
MAX_NODES = 200_000
MAX_NESTING = 8
MAX_FIELDS = 4096
REFUSED_OPS = {
    "EPContext": "it holds a compiled program or the path of one",
    "PyOp": "it runs Python", "PythonOp": "it runs Python", "PythonOpGrad": "it runs Python", "ATen": "it calls into another library",
    "Loop": "it can run for ever",
}
_MAGICS = ((b"PK\x03\x04", "a zip archive"), (b"PK\x05\x06", "a zip archive"), (b"\x1f\x8b", "a gzip archive"), (b"\x7fELF", "a program"),
           (b"MZ", "a program"), (b"<", "HTML or XML"), (b"{", "JSON"), (b"GGUF", "GGUF"), (b"#!", "a script"), (b"\xef\xbb\xbf", "text"))
_MAX_NUMBERS = 1024


def check_onnx(data: bytes, name: str) -> None:
    """Raises BundleError, naming the file and the reason, unless `data` is an ONNX model without external data, foreign or
    running operators, functions, or constants that do not fit their bytes or grow beyond 256 MB. Returns nothing.
    """
    _check_magic(data, name)
    if len(data) > MAX_BYTES:
        raise BundleError(f"{name} is {len(data):,} bytes (the limit of protobuf is {MAX_BYTES:,})")
    model = _Model(name)
    graph: memoryview | None = None
    opsets = 0
    for number, _, value in fields(memoryview(data), name):
        if number == 1 and not 3 <= signed(value, name) <= MAX_IR:
            raise BundleError(f"{name} has IR version {signed(value, name)}; 3 to {MAX_IR} are known",
                              hint="a newer Understudy may read it: pip install --upgrade understudy")
        if number == 7:
            if graph is not None:
                raise BundleError(f"{name} holds two graphs")
            graph = message(value, name)
        elif number == 8:
            _check_opset(message(value, name), name)
            opsets += 1
        elif number == 14:
            _check_metadata(message(value, name), name)
        elif number in (20, 25):
            raise BundleError(f"{name} holds {'training steps' if number == 20 else 'functions of its own'}, which a bundle may not")
        elif number not in (1, 2, 3, 4, 5, 6, 26):
            raise BundleError(f"{name} is not an ONNX model: it has the unknown field {number}")
    if graph is None or not opsets:
        raise BundleError(f"{name} is not an ONNX model: it has no {'graph' if graph is None else 'operator set'}")
    model.graph(graph, 0)


def _check_magic(data: bytes, name: str) -> None:
    if not data:
        raise BundleError(f"{name} is empty")
    for magic, what in _MAGICS:
        if data.startswith(magic):
            raise BundleError(f"{name} is {what}, not an ONNX model")
    if data[0] == 0x80 and len(data) > 1 and data[1] <= 5:
        raise BundleError(f"{name} is a Python pickle, not an ONNX model")


def _check_opset(data: memoryview, name: str) -> None:
    domain, version = "", 0
    for number, _, value in fields(data, name):
        if number == 1:
            domain = string(value, name)
        elif number == 2:
            version = signed(value, name)
    newest = MAX_OPSETS.get(domain)
    if newest is not None and not 1 <= version <= newest:
        raise BundleError(f"{name} needs opset {version} of {shown(domain or 'ai.onnx')}; {newest} is the newest known",
                          hint="a newer Understudy may read it: pip install --upgrade understudy")


def _check_metadata(data: memoryview, name: str) -> None:
    for number, _, value in fields(data, name):
        key = string(value, name).lower() if number == 1 else ""
        for word in ("ep_context", "epcontext", "custom_op", "library", "ort_config"):
            if word in key:
                raise BundleError(f"{name} has the metadata {shown(key)}, which steers a runtime")


class _Model:
    """The walk over the graphs of one model; counts and constants are the model's, not the graph's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes = 0
        self._constants = Constants(name)

    def graph(self, data: memoryview, depth: int) -> None:
        """One graph or subgraph. Raises BundleError."""
        if depth > MAX_NESTING:
            raise BundleError(f"{self._name} nests graphs more than {MAX_NESTING} deep")
        nodes = []
        for number, _, value in fields(data, self._name):
            if number == 1:
                nodes.append(message(value, self._name))
                self._nodes += 1
                if self._nodes > MAX_NODES:
                    raise BundleError(f"{self._name} has more than {MAX_NODES:,} nodes")
            elif number == 5:
                self._constants.add(read_tensor(message(value, self._name), self._name))
            elif number == 15:
                raise BundleError(f"{self._name} holds sparse tensors, which a few bytes can declare at any size")
        for node in nodes:
            self._node(node, depth)

    def _node(self, data: memoryview, depth: int) -> None:
        inputs, outputs, single, attributes = [], [], {4: "", 7: ""}, {}
        for seen, (number, _, value) in enumerate(fields(data, self._name)):
            if number == 1:
                inputs.append(string(value, self._name))
            elif number == 2:
                outputs.append(string(value, self._name))
            elif number in single:
                if single[number]:
                    raise BundleError(f"{self._name} has a node with two names for its operator")
                single[number] = string(value, self._name)
            elif number == 5:
                key, held = self._attribute(message(value, self._name), depth)
                if held is not None:
                    attributes[key] = held
            if seen >= MAX_FIELDS:
                raise BundleError(f"{self._name} has a node with more than {MAX_FIELDS} parts")
        self._check_operator(single[4], single[7])
        self._constants.run(Node(single[4], tuple(inputs), tuple(outputs), attributes))

    def _check_operator(self, op: str, domain: str) -> None:
        if domain not in DOMAINS:
            raise BundleError(f"{self._name} uses the operator {shown(op)} of the domain {shown(domain)}; only ai.onnx, ai.onnx.ml "
                              "and com.microsoft are allowed")
        if op in REFUSED_OPS:
            raise BundleError(f"{self._name} uses the operator {op}: {REFUSED_OPS[op]}")
        if not op:
            raise BundleError(f"{self._name} has a node without an operator")

    def _attribute(self, data: memoryview, depth: int) -> tuple[str, Attribute | None]:
        """Name and value of an attribute where the value matters to a size; graphs inside it are walked."""
        key = ""
        held: float | int | Tensor | None = None
        floats: list[float] = []
        ints: list[int] = []
        single: set[int] = set()
        for number, wire, value in fields(data, self._name):
            if number in (1, 2, 3, 5, 6):
                if number in single:
                    raise BundleError(f"{self._name} has an attribute {shown(key)} with two values")
                single.add(number)
            if number == 1:
                key = string(value, self._name)
            elif number == 2:
                held = read_float(wire, value, self._name)
            elif number == 3:
                held = signed(value, self._name)
            elif number in (5, 10):
                tensor = read_tensor(message(value, self._name), self._name)
                held = tensor if number == 5 else held
            elif number in (6, 11):
                self.graph(message(value, self._name), depth + 1)
            elif number == 7:
                floats += self._floats(wire, value)
            elif number == 8 and self._room(wire, value, ints):
                ints += integers(wire, value, self._name, _MAX_NUMBERS)
            elif number in (22, 23):
                raise BundleError(f"{self._name} holds sparse tensors, which a few bytes can declare at any size")
        return key, _held(held, ints, floats)

    def _floats(self, wire: int, value: int | memoryview) -> list[float]:
        if wire != BYTES:
            return [read_float(wire, value, self._name)]
        packed = message(value, self._name)
        if len(packed) % 4:
            raise BundleError(f"{self._name} is cut short in a list of floats")
        return list(packed.cast("f"))[:_MAX_NUMBERS]

    def _room(self, wire: int, value: int | memoryview, ints: list[int]) -> bool:
        """Whether a list of integers is short enough to be a shape and worth reading."""
        return len(ints) < _MAX_NUMBERS and (wire == VARINT or count_varints(message(value, self._name)) <= _MAX_NUMBERS // 10)


def _held(held: float | int | Tensor | None, ints: list[int], floats: list[float]) -> Attribute | None:
    if held is not None:
        return held
    return tuple(ints) or tuple(floats) or None
