"""MAL-4 (the static part), MAL-5, MAL-8: hostile ONNX is refused by our own walk, before any runtime sees it."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from bundle_helpers import attribute, graph, model, node, number, onnx_bytes, part, scalar, shape, tensor, varint
from understudy.bundle.onnx_check import MAX_OPSETS, check_onnx
from understudy.errors import BundleError

FOUR = struct.pack("<4f", 1, 2, 3, 4)
HUGE = 70_000_000


def one(*nodes: bytes, initialisers: tuple[bytes, ...] = (), **changes) -> bytes:
    return model(graph(*nodes, initialisers=initialisers), **changes)


def external(location: str) -> bytes:
    """A tensor whose data lies elsewhere, as onnx writes it."""
    return tensor("w", [4], extra=part(13, part(1, "location") + part(2, location)) + number(14, 1))


def nested(depth: int) -> bytes:
    body = graph(node("Identity", ("x",)))
    for _ in range(depth):
        body = graph(node("If", ("c",), extra=attribute("then_branch", part(6, body))))
    return model(body)


def doubling(steps: int) -> bytes:
    """A constant joined with itself again and again: 4 bytes become 4 · 2^steps."""
    axis = attribute("axis", number(3, 0))
    return one(*(node("Concat", (f"c{n}", f"c{n}"), (f"c{n + 1}",), extra=axis) for n in range(steps)), initialisers=(tensor("c0", [1], b"\0" * 4),))


EXTERNAL = ["../../etc/passwd", "/etc/passwd", "weights.bin", "a/../../x", "\\\\host\\share", "*/_ORT_MEM_ADDR_/*", "link", "hard", "", "x" * 3000, "file:///etc/passwd"]

HOSTILE = [(f"external {place[:20]!r}", one(node("Add", ("x", "w")), initialisers=(external(place),)), "takes its data from another file") for place in EXTERNAL] + [
    ("external without a place", one(node("Add", ("x", "w")), initialisers=(tensor("w", [4], extra=number(14, 1)),)), "takes its data from another file"),
    ("external in an attribute", one(node("Constant", extra=attribute("value", part(5, external("../x"))))), "takes its data from another file"),
    ("external in a subgraph", one(node("If", ("c",), extra=attribute("then_branch", part(6, graph(node("Add"), initialisers=(external("../x"),)))))), "takes its data from another file"),
    ("external in a list of tensors", one(node("Constant", extra=attribute("v", part(10, external("../x"))))), "takes its data from another file"),
    ("foreign domain", one(node("Evil", domain="org.evil")), "the operator 'Evil' of the domain 'org.evil'"),
    ("python domain", one(node("PyCustom", domain="ai.onnx.contrib")), "domain 'ai.onnx.contrib'"),
    ("EPContext", one(node("EPContext", domain="com.microsoft")), "uses the operator EPContext: it holds a compiled program"),
    ("EPContext elsewhere", one(node("EPContext")), "EPContext"), ("PythonOp", one(node("PythonOp", domain="com.microsoft")), "PythonOp: it runs Python"),
    ("endless loop", one(node("Loop", ("", ""))), "Loop: it can run for ever"), ("no operator", one(node("")), "a node without an operator"),
    ("hidden in a subgraph", one(node("If", ("c",), extra=attribute("else_branch", part(6, graph(node("Evil", domain="x")))))), "'Evil' of the domain 'x'"),
    ("two operators", one(node("Add") + part(4, "Evil")), "two names for its operator"), ("two domains", one(node("Add", domain="ai.onnx") + part(7, "evil")), "two names"),
    ("custom-op library", model(graph(node("Add")), extra=part(14, part(1, "custom_op_library") + part(2, "/tmp/x.so"))), "metadata 'custom_op_library', which steers a runtime"),
    ("runtime config", model(graph(node("Add")), extra=part(14, part(1, "ORT_CONFIG") + part(2, "{}"))), "metadata 'ort_config'"),
    ("functions", model(graph(node("F")), extra=part(25, part(1, "F") + part(7, node("F")))), "holds functions of its own"),
    ("training", model(graph(node("Add")), extra=part(20, part(1, graph(node("Add"))))), "holds training steps"),
    ("deep nesting", nested(9), "nests graphs more than 8 deep"), ("very deep nesting", nested(3000), "nests graphs more than 8 deep"),
    ("a million nodes", model(graph(*[node("Add")] * 200_001)), "has more than 200,000 nodes"),
    ("a node with many parts", one(node("Concat", ("x",) * 5000)), "more than 4096 parts"), ("a long name", one(node("A" * 5000)), "a name of 5,000 bytes"),
    ("dims beyond bytes", one(initialisers=(tensor("w", [2**40], FOUR),)), "that is 4,398,046,511,104 bytes, and brings 16"),
    ("dims overflow", one(initialisers=(tensor("w", [2**62, 2**62, 4], FOUR),)), "declares the shape"), ("dims below bytes", one(initialisers=(tensor("w", [2], FOUR),)), "that is 8 bytes, and brings 16"),
    ("negative dims", one(initialisers=(tensor("w", [-4], FOUR),)), "impossible shape"), ("too many dims", one(initialisers=(tensor("w", [1] * 17, FOUR),)), "impossible shape|more than 16"),
    ("no data", one(initialisers=(tensor("w", [4]),)), "that is 4 elements, and brings 0"), ("data twice", one(initialisers=(tensor("w", [4], FOUR, extra=part(4, FOUR)),)), "in two ways at once"),
    ("raw twice", one(initialisers=(tensor("w", [4], FOUR, extra=part(9, FOUR)),)), "brings its bytes twice"), ("unknown type", one(initialisers=(tensor("w", [4], FOUR, kind=99),)), "unknown element type 99"),
    ("segments", one(initialisers=(tensor("w", [4], FOUR, extra=part(3, number(1, 0))),)), "cut into segments"),
    ("attribute with two tensors", one(node("Constant", extra=attribute("value", part(5, tensor("a", [4], FOUR)) + part(5, tensor("b", [4], FOUR))))), "with two values"),
    ("sparse", model(graph(node("Add"), extra=part(15, number(3, 2**40)))), "sparse tensors"), ("sparse attribute", one(node("Constant", extra=attribute("sparse_value", part(22, b"")))), "sparse tensors"),
    ("two graphs", model(graph(node("Add")), extra=part(7, graph(node("Add")))), "holds two graphs"),
    ("opset 999", one(node("Add"), opset=999), "needs opset 999 of 'ai.onnx'; 28 is the newest known"), ("ml opset", one(node("Add"), opset=9, domain="ai.onnx.ml"), "needs opset 9 of 'ai.onnx.ml'"),
    ("opset 0", one(node("Add"), opset=0), "needs opset 0"), ("future IR", one(node("Add"), ir=99), "has IR version 99"), ("no graph", number(1, 10) + part(8, number(2, 18)), "it has no graph"),
    ("no opset", number(1, 10) + part(7, graph(node("Add"))), "it has no operator set"), ("unknown field", one(node("Add"), extra=part(99, "x")), "unknown field 99"),
    ("a number for a graph", number(7, 5), "a number stands where a message belongs"), ("groups", b"\x0b\x0c", "wire type 3 is unknown"), ("endless number", b"\x08" + b"\xff" * 20, "more than ten bytes"),
    ("65 bits", b"\x08" + b"\xff" * 9 + b"\x7f", "does not fit in 64 bits"), ("field 0", b"\x00\x00", "field number 0"), ("length beyond the end", part(7, graph())[:1] + varint(2**40), "declares 1,099,511,627,776 bytes"),
    ("empty", b"", "is empty"), ("zip", b"PK\x03\x04" + b"\0" * 99, "is a zip archive"), ("pickle", b"\x80\x04\x95\x10\0\0\0", "is a Python pickle"), ("html", b"<html><script>", "is HTML or XML"),
    ("json", b'{"a": 1}', "is JSON"), ("gzip", b"\x1f\x8b\x08", "is a gzip archive"), ("elf", b"\x7fELF", "is a program"), ("gguf", b"GGUF\x03", "is GGUF"), ("text", b"hello there", "unknown field 13"),
]

GROWTH = [
    ("ConstantOfShape", one(node("ConstantOfShape", ("s",)), initialisers=(shape("s", HUGE),))),
    ("ConstantOfShape 2^44", one(node("ConstantOfShape", ("s",)), initialisers=(shape("s", 2**22, 2**22),))),
    ("a shape from a Constant", one(node("Constant", outputs=("s",), extra=attribute("value", part(5, shape("", HUGE)))), node("ConstantOfShape", ("s",)))),
    ("a shape from value_ints", one(node("Constant", outputs=("s",), extra=attribute("value_ints", part(8, varint(HUGE)))), node("ConstantOfShape", ("s",)))),
    ("a shape from int64_data", one(node("ConstantOfShape", ("s",)), initialisers=(tensor("s", [1], kind=7, extra=part(7, varint(HUGE))),))),
    ("a shape through Identity and Cast", one(node("Identity", ("s",), ("t",)), node("Cast", ("t",), ("u",)), node("ConstantOfShape", ("u",)), initialisers=(shape("s", HUGE),))),
    ("a shape by Mul", one(node("Mul", ("s", "s"), ("t",)), node("ConstantOfShape", ("t",)), initialisers=(shape("s", 20_000),))),
    ("a shape by Concat", one(node("Concat", ("s", "s"), ("t",), extra=attribute("axis", number(3, 0))), node("ConstantOfShape", ("t",)), initialisers=(shape("s", 20_000),))),
    ("a shape of a shape", one(node("ConstantOfShape", ("s",), ("big",)), node("Shape", ("big",), ("t",)), node("Expand", ("w", "t")), initialisers=(shape("s", 6000, 6000), tensor("w", [1], b"\0" * 8, 11)))),
    ("many of middle size", one(*[node("ConstantOfShape", ("s",), (f"y{n}",)) for n in range(20)], initialisers=(shape("s", 4_000_000),))),
    ("Expand", one(node("Expand", ("w", "s")), initialisers=(shape("s", HUGE), tensor("w", [1], b"\0" * 4)))),
    ("Expand of an input", one(node("Expand", ("x", "s")), initialisers=(shape("s", 2**30),))),
    ("Tile", one(node("Tile", ("w", "s")), initialisers=(shape("s", HUGE), tensor("w", [4], FOUR)))), ("Tile of an input", one(node("Tile", ("x", "s")), initialisers=(shape("s", 2**20, 2**20),))),
    ("Range", one(node("Range", ("a", "b", "c")), initialisers=(scalar("a", 0), scalar("b", HUGE), scalar("c", 1)))),
    ("Range to infinity", one(node("Range", ("a", "b", "c")), initialisers=tuple(tensor(name, [], struct.pack("<f", value)) for name, value in (("a", 0), ("b", float("inf")), ("c", 1))))),
    ("Range without a step", one(node("Range", ("a", "b", "c")), initialisers=(scalar("a", 0), scalar("b", 1), scalar("c", 0)))),
    ("Pad", one(node("Pad", ("w", "s")), initialisers=(shape("s", 0, HUGE), tensor("w", [4], FOUR)))), ("Pad by attribute", one(node("Pad", ("x",), extra=attribute("pads", part(8, varint(0) + varint(2**30)))))),
    ("Resize", one(node("Resize", ("w", "", "", "s")), initialisers=(shape("s", 2**15, 2**15), tensor("w", [1, 1], b"\0" * 4)))),
    ("Upsample", one(node("Upsample", ("w",), extra=attribute("scales", part(7, struct.pack("<2f", 2**15, 2**15)))), initialisers=(tensor("w", [1, 1], b"\0" * 4),))),
    ("OneHot", one(node("OneHot", ("i", "d", "v")), initialisers=(tensor("i", [4], b"\0" * 32, 7), scalar("d", HUGE)))), ("HannWindow", one(node("HannWindow", ("n",)), initialisers=(scalar("n", HUGE),))),
    ("MelWeightMatrix", one(node("MelWeightMatrix", ("a", "b")), initialisers=(scalar("a", 2**15), scalar("b", 2**15)))),
    ("RandomNormal", one(node("RandomNormal", extra=attribute("shape", part(8, varint(HUGE)))))), ("Multinomial", one(node("Multinomial", ("x",), extra=attribute("sample_size", number(3, HUGE))))),
    ("doubling", doubling(40)), ("doubling for ever", doubling(2000)),
    ("outer sum", one(node("Unsqueeze", ("r", "one"), ("row",)), node("Add", ("row", "r")), initialisers=(tensor("r", [10_000], b"\0" * 40_000), shape("one", 1)))),
    ("outer product", one(node("MatMul", ("a", "b")), initialisers=(tensor("a", [10_000, 1], b"\0" * 40_000), tensor("b", [1, 10_000], b"\0" * 40_000)))),
    ("outer by Reshape and Transpose", one(node("Reshape", ("r", "s"), ("row",)), node("Transpose", ("row",), ("col",)), node("Where", ("row", "col", "r")),
                                           initialisers=(tensor("r", [10_000], b"\0" * 40_000), shape("s", 1, -1)))),
    ("in a subgraph", one(node("If", ("c",), extra=attribute("then_branch", part(6, graph(node("ConstantOfShape", ("s",)), initialisers=(shape("s", HUGE),))))))),
]


@pytest.mark.parametrize(("data", "words"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_hostile_models_are_refused_by_reason(data, words):
    start = time.process_time()
    with pytest.raises(BundleError, match=f"b/model.onnx.*({words})"):
        check_onnx(data, "b/model.onnx")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("data", [case[1] for case in GROWTH], ids=[case[0] for case in GROWTH])
def test_constants_that_grow_are_refused(data):
    start = time.process_time()
    with pytest.raises(BundleError, match=r"m: the node '\w+' makes constants of .* bytes out of this file \(the limit is 268,435,456\)"):
        check_onnx(data, "m")
    assert time.process_time() - start < 1


def test_small_constants_are_not():
    sizes = (shape("s", 1000), tensor("w", [1], b"\0" * 4), shape("p", 0, 8))
    check_onnx(one(*[node(op, ("w", "s")) for op in ("Expand", "Tile")], node("ConstantOfShape", ("s",)), node("Pad", ("w", "p")), initialisers=sizes), "m")
    check_onnx(doubling(10), "m")
    check_onnx(nested(8), "m")


def test_every_tensor_type_that_onnx_writes_is_measured_right():
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    for kind in ("FLOAT", "DOUBLE", "INT8", "UINT8", "INT16", "UINT16", "INT32", "INT64", "UINT32", "UINT64", "BOOL", "FLOAT16", "COMPLEX64"):
        numpy_kind = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
        values = np.array([[1, 0, 1], [1, 1, 0]]).astype(numpy_kind)
        for raw in (True, False):
            one_tensor = numpy_helper.from_array(values, "w") if raw else helper.make_tensor("w", getattr(TensorProto, kind), (2, 3), values.ravel().tolist())
            made = helper.make_model(helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [], [one_tensor]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
            check_onnx(made.SerializeToString(), f"{kind} raw={raw}")
    text = helper.make_tensor("w", TensorProto.STRING, (2,), [b"a", b"b"])
    check_onnx(helper.make_model(helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [], [text]), opset_imports=[helper.make_opsetid("", 18)]).SerializeToString(), "text")
    assert onnx.defs.onnx_opset_version() >= MAX_OPSETS[""]


def test_models_of_the_exporter_and_the_mini_encoder_agree_with_the_onnx_library():
    import onnx

    parsed = onnx.load_from_string(onnx_bytes())
    assert parsed.graph.initializer[0].dims == [4] and parsed.graph.node[0].op_type == "Add"
    check_onnx(onnx_bytes(), "m")
    check_onnx(parsed.SerializeToString(), "m")


def test_truncations_and_flips_never_raise_anything_else():
    data, chance = onnx_bytes() + one(node("Tile", ("w", "s")), initialisers=(shape("s", 3),))[2:], random.Random(1)
    refused = 0
    for step in range(3000):
        broken = bytearray(data[:chance.randrange(len(data))] if step % 3 == 0 else data)
        for _ in range(chance.randrange(4)):
            if broken:
                broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            check_onnx(bytes(broken), "m")
        except BundleError as error:
            refused += 1
            assert str(error).startswith("m")
    assert refused > 1000


def test_the_walk_needs_neither_onnx_nor_a_runtime():
    code = "import sys; from understudy.bundle.onnx_check import check_onnx; check_onnx(bytes.fromhex(sys.argv[1]), 'm'); print(sorted({'onnx', 'onnxruntime', 'numpy', 'google.protobuf'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, onnx_bytes().hex()], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
