"""Encoders as ONNX graphs: what a model is served with, and what its heads learn on.

An encoder is exported, its attention fused, and its matrices stored in int8, which is four times as fast and a little
off. Heads therefore learn on the vectors that they will be served with, and nothing is lost between the two.

What a matrix is multiplied with becomes int8 too, on one scale for the whole text. A few word pieces, punctuation most
of all, have values a hundred times as large as the others, and would leave these nothing but noise: so each word piece
is divided by its own largest value before, and multiplied by it after (Yao et al. 2022, ZeroQuant, section 3.2).
"""

from __future__ import annotations

import contextlib
import copy
import logging
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from ml.encoder import Encoder
from ml.sessions import WindowEncoder

OPSET = 17
INT8, FLOAT32 = "int8", "float32"
FORM = 3  # Of what is written here; one more whenever it gives other vectors, so that caches are not mixed
SMALLEST = 1e-6  # What a row is divided by at least


class OnnxNetwork(nn.Module):
    """An exported encoder that is called as the one that it was exported from."""

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        """Load an exported encoder; `folder` is removed with it."""
        super().__init__()
        self.path = path
        if folder is not None:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._encoder = WindowEncoder(path)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """Encode windows: (N, T) to an object with `last_hidden_state`, (N, T, W), float32."""
        vectors = self._encoder.encode(input_ids.numpy(), attention_mask.numpy())
        return SimpleNamespace(last_hidden_state=torch.from_numpy(vectors))


def export(encoder: Encoder, precision: str, *, exports: Path | None = None) -> Encoder:
    """Return an encoder as it is served.

    Args:
        precision: "int8" or "float32".
        exports: keeps exported encoders by the hash of their weights, because those that are not tuned come again.
    """
    if exports is None or encoder.tuned:
        folder = Path(tempfile.mkdtemp(prefix="caseloop-export-"))
        path = folder / "encoder.onnx"
        write(encoder, precision, path)
        network = OnnxNetwork(path, folder)
    else:
        path = exports / f"{encoder.digest}-{precision}.{FORM}.onnx"
        if not path.exists():
            exports.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=exports) as name:
                write(encoder, precision, Path(name) / path.name)
                (Path(name) / path.name).rename(path)  # At once, so that another process never reads half a file
        network = OnnxNetwork(path)
    return replace(encoder, network=network, digest=f"{precision}.{FORM}-{encoder.digest}", dtype=torch.float32)


def path_of(encoder: Encoder) -> Path:
    """Return the file of an encoder that `export` gave."""
    if not isinstance(encoder.network, OnnxNetwork):
        raise TypeError(f"encoder {encoder.name!r} is not exported")
    return encoder.network.path


def write(encoder: Encoder, precision: str, path: Path) -> None:
    """Write an encoder as an ONNX graph: input_ids and, where of use, attention_mask, (N, T), to hidden, (N, T, W).

    Source: onnxruntime.transformers for the fused attention, onnxruntime.quantization for int8.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - takes a second
    from onnxruntime.transformers import optimizer  # noqa: PLC0415 - takes a second
    from onnxruntime.transformers.fusion_options import FusionOptions  # noqa: PLC0415 - takes a second

    network: Any = copy.deepcopy(encoder.network).float().eval()
    network.set_attn_implementation("eager")  # The form that is known to the optimizer
    ids = torch.ones(2, 16, dtype=torch.long)
    both = {0: "windows", 1: "pieces"}
    names = ["input_ids", "attention_mask"]
    with tempfile.TemporaryDirectory() as folder:
        plain, fused = Path(folder) / "plain.onnx", Path(folder) / "fused.onnx"
        to_onnx(_Hidden(network), (ids, ids), plain, names, ["hidden"], dict.fromkeys([*names, "hidden"], both))
        config = network.config
        with _quiet():
            options = FusionOptions("bert")
            options.enable_skip_layer_norm = False  # One kernel for sum and norm is five times as slow as the two
            options.enable_embed_layer_norm = False
            optimised = optimizer.optimize_model(
                str(plain),
                "bert",
                num_heads=config.num_attention_heads,
                hidden_size=config.hidden_size,
                optimization_options=options,
                opt_level=0,
            )
            if precision == INT8:
                scale_rows(optimised.model.graph)
            split_attention(optimised.model.graph)
            optimised.save_model_to_file(str(fused))
        if precision == FLOAT32:
            shutil.move(fused, path)
            return
        with _quiet():
            quantize_dynamic(
                fused,
                path,
                op_types_to_quantize=["MatMul"],  # Embeddings lose more than they save
                weight_type=QuantType.QInt8,
                per_channel=True,
                extra_options={"DefaultTensorType": 1},  # Fused operators do not tell their type: float32
            )


def scale_rows(graph: onnx.GraphProto) -> None:
    """Divide each row that a matrix is multiplied with by its largest value before, and multiply by it after."""
    matrices = {weights.name for weights in graph.initializer if len(weights.dims) == 2}
    graph.initializer.append(numpy_helper.from_array(np.array(SMALLEST, dtype=np.float32), "smallest"))
    nodes = []
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in matrices:
            nodes.append(node)
            continue
        rows, product, name = node.input[0], node.output[0], node.name
        sizes, largest, scale, scaled, found = (f"{name}/{part}" for part in ("sizes", "largest", "scale", "in", "out"))
        node.input[0], node.output[0] = scaled, found
        nodes += [
            helper.make_node("Abs", [rows], [sizes]),
            helper.make_node("ReduceMax", [sizes], [largest], axes=[-1]),
            helper.make_node("Max", [largest, "smallest"], [scale]),
            helper.make_node("Div", [rows, scale], [scaled]),
            node,
            helper.make_node("Mul", [found, scale], [product]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def split_attention(graph: onnx.GraphProto) -> None:
    """Make of each attention a product with its matrix and the attention proper, which is faster without a mask.

    None is needed: windows are read one by one, and so nothing is padded.
    """
    nodes = []
    for node in graph.node:
        # What is more than a mask has to stay
        is_plain = {found.name for found in node.attribute} <= {"num_heads", "mask_filter_value"}
        if node.op_type != "Attention" or any(node.input[4:]) or not is_plain:
            nodes.append(node)
            continue
        rows, weights, bias = node.input[:3]
        name = node.name
        parts = [f"{name}/{part}" for part in ("query", "key", "value")]
        heads = next(found.i for found in node.attribute if found.name == "num_heads")
        nodes += [
            helper.make_node("MatMul", [rows, weights], [f"{name}/product"], name=f"{name}/matrix"),
            helper.make_node("Add", [f"{name}/product", bias], [f"{name}/all"]),
            helper.make_node("Split", [f"{name}/all"], parts, axis=-1),
            helper.make_node("MultiHeadAttention", parts, node.output, domain=node.domain, num_heads=heads, name=name),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


class _Hidden(nn.Module):
    """An encoder that takes and gives plain tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep a library's reports of its own steps, and the handlers that it sets up, out of the log of whoever trains."""
    root = logging.getLogger()
    handlers, level, below = root.handlers[:], root.level, root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(below)
        root.handlers[:] = handlers
        root.setLevel(level)


def to_onnx(
    module: nn.Module,
    given: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, Any],
) -> None:
    """Write a module as an ONNX graph; `axes` names the dimensions that may differ from those of `given`."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            given,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,  # The attention in what the newer exporter writes is not fused: 10% slower here
        )
