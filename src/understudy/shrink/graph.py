"""A Classifier as an ONNX graph, written node by node, so that the same weights are always the same bytes.

Inputs input_ids and attention_mask (batch, tokens) int64, outputs logits (batch, classes) and sentence_embedding (batch, width)
float32: the mean of the last layer's token vectors, scaled to length 1 where the model was trained so. A linear layer is either
float or int8: weights per output column, activations quantised as they come (DynamicQuantizeMatMul). Token embeddings are
int8 with a scale per row. The fused operators are ONNX Runtime's own (domain com.microsoft), in its Python, Node and web builds.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..models.bert import Classifier
from ..run.kinds.encoder import EMBEDDING

OPSET = 20
_STEPS = 63
"""int8 weights use 7 bits: on CPUs without VNNI the products of two full 8-bit numbers saturate (ONNX Runtime docs)."""


def linears(model: Classifier) -> list[str]:
    """Names of the layers that can be int8, in the order they run."""
    return [f"layers.{i}.{part}" for i in range(len(model.layers)) for part in ("qkv", "out", "up", "down")]


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, *, domain: str = "", outputs: int = 1, **attributes) -> str:
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, domain=domain, **attributes))
        return name

    def linear(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray, whole: bool) -> str:
        """x @ weight.T + bias, with `weight` (out, in) as torch keeps it."""
        if whole:
            product = self.node("MatMul", [x, self.constant(f"{name}.weight", weight.T)], f"{name}.product")
            return self.node("Add", [product, self.constant(f"{name}.bias", bias)], name)
        scale = np.maximum(np.abs(weight).max(1), 1e-8) / _STEPS
        packed = np.clip(np.rint(weight / scale[:, None]), -_STEPS, _STEPS).astype(np.int8).T
        return self.node("DynamicQuantizeMatMul", [
            x, self.constant(f"{name}.weight", packed), self.constant(f"{name}.scale", scale.astype(np.float32)),
            self.constant(f"{name}.zero", np.zeros(len(scale), np.int8)), self.constant(f"{name}.bias", bias)], name, domain="com.microsoft")

    def norm(self, x: str, skip: str, name: str, module) -> str:
        """LayerNorm(x + skip)."""
        return self.node("SkipLayerNormalization", [x, skip, self.constant(f"{name}.weight", _array(module.weight)),
                                                    self.constant(f"{name}.bias", _array(module.bias))],
                         name, domain="com.microsoft", epsilon=float(module.eps))


def _array(tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float32)


def build(model: Classifier, *, whole: Collection[str] | None = None) -> bytes:
    """The bytes of the ONNX file. `whole` names the layers kept in float; None keeps everything in float, embeddings too."""
    graph = _Graph()
    floats = set(linears(model)) if whole is None else set(whole)
    h = _embed(graph, model, int8=whole is not None)
    tapped = ""
    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    for index, layer in enumerate(model.layers):
        name = f"layers.{index}"

        def linear(x: str, part: str, layer=layer, name=name) -> str:
            module = getattr(layer, part)
            return graph.linear(x, f"{name}.{part}", _array(module.weight), _array(module.bias), f"{name}.{part}" in floats)

        graph.node("Split", [linear(h, "qkv")], f"{name}.parts", outputs=3, axis=-1, num_outputs=3)
        mixed = graph.node("MultiHeadAttention", [f"{name}.parts.{i}" for i in range(3)] + ["", mask], f"{name}.attention",
                           domain="com.microsoft", num_heads=layer.heads)
        h = graph.norm(linear(mixed, "out"), h, f"{name}.norm1", layer.norm1)
        wide = graph.node("Gelu", [linear(h, "up")], f"{name}.gelu")
        h = graph.norm(linear(wide, "down"), h, f"{name}.norm2", layer.norm2)
        tapped = h if index + 1 == model.shape.tap else tapped
    _head(graph, model, [one for one in (tapped, h) if one])
    return _finish(graph, model)


def _embed(graph: _Graph, model: Classifier, *, int8: bool) -> str:
    table = _array(model.tokens.weight)
    if int8:
        scale = np.maximum(np.abs(table).max(1, keepdims=True), 1e-8) / 127
        packed = np.clip(np.rint(table / scale), -127, 127).astype(np.int8)
        rows = graph.node("Gather", [graph.constant("tokens.weight", packed), "input_ids"], "tokens.rows")
        scales = graph.node("Gather", [graph.constant("tokens.scale", scale.astype(np.float32)), "input_ids"], "tokens.scales")
        tokens = graph.node("Mul", [graph.node("Cast", [rows], "tokens.float", to=TensorProto.FLOAT), scales], "tokens")
    else:
        tokens = graph.node("Gather", [graph.constant("tokens.weight", table), "input_ids"], "tokens")
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    zero, first = graph.constant("zero", np.array([0], np.int64)), graph.constant("axis0", np.array([0], np.int64))
    positions = graph.node("Slice", [graph.constant("positions.weight", _array(model.positions.weight)), zero, length, first], "positions")
    summed = graph.node("Add", [tokens, positions], "embedded")
    return graph.node("LayerNormalization", [summed, graph.constant("norm.weight", _array(model.norm.weight)),
                                             graph.constant("norm.bias", _array(model.norm.bias))], "norm", axis=-1,
                      epsilon=float(model.norm.eps))


def _head(graph: _Graph, model: Classifier, states: list[str]) -> None:
    """Means over the tokens of each of the states, side by side, times the head."""
    last, middle = graph.constant("axis2", np.array([2], np.int64)), graph.constant("axis1", np.array([1], np.int64))
    weight = graph.node("Unsqueeze", [graph.node("Cast", ["attention_mask"], "mask.float", to=TensorProto.FLOAT), last], "weights")
    count = graph.node("ReduceSum", [weight, middle], "count", keepdims=0)
    parts = []
    for place, h in enumerate(states):
        total = graph.node("ReduceSum", [graph.node("Mul", [h, weight], f"weighted.{place}"), middle], f"total.{place}", keepdims=0)
        unit = f"unit.{place}" if h is not states[-1] else EMBEDDING
        part = graph.node("Div", [total, count], f"pooled.{place}" if model.shape.normalise else unit)
        parts.append(graph.node("LpNormalization", [part], unit, axis=-1, p=2) if model.shape.normalise else part)
    pooled = graph.node("Concat", parts, "features", axis=1) if len(parts) > 1 else parts[0]
    _gemm(graph, pooled, "head", model.head, "logits" if model.wide is None else "head")
    if model.wide is not None:
        hidden = graph.node("Gelu", [_gemm(graph, pooled, "wide.up", model.wide.up, "wide.up")], "wide.gelu")
        graph.node("Add", ["head", _gemm(graph, hidden, "wide.down", model.wide.down, "wide.down")], "logits")


def _gemm(graph: _Graph, x: str, name: str, module, out: str) -> str:
    return graph.node("Gemm", [x, graph.constant(f"{name}.weight", _array(module.weight)),
                               graph.constant(f"{name}.bias", _array(module.bias))], out, transB=1)


def _finish(graph: _Graph, model: Classifier) -> bytes:
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", model.head.out_features])
    pooled = helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["batch", model.shape.width])
    body = helper.make_graph(graph.nodes, "classifier", ids, [out, pooled], graph.constants)
    made = helper.make_model(body, producer_name="understudy", ir_version=10,
                             opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)])
    return made.SerializeToString(deterministic=True)
