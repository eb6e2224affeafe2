from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from ml import served, sessions
from ml.encoder import Encoder
from ml.registry import ModelFolderError
from ml.served import FLOAT32, INT8
from tests import tiny

TEXTS = [*(case.text for case in tiny.cases(12, seed=3)), "", "the " * 90 + "ship"]


def vectors(encoder: Encoder) -> list[torch.Tensor]:
    found = {}
    for batch in encoder.batches(TEXTS):
        found |= {row: batch.tokens[at][batch.mask[at]].float() for at, row in enumerate(batch.rows)}
    return [found[row] for row in range(len(TEXTS))]


def in_float32(encoder: Encoder) -> Encoder:
    return replace(encoder, network=encoder.tuned_with({}).network.float(), dtype=torch.float32)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra", "albert"])
def test_an_exported_encoder_gives_what_torch_does(
    kind: str, other_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    encoder = in_float32(other_encoder(kind))
    for one, other in zip(vectors(encoder), vectors(served.export(encoder, FLOAT32, exports=tmp_path)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_int8_is_near_and_says_in_its_digest_that_it_is_another(tiny_encoder: Encoder, tiny_exports: Path) -> None:
    encoder = in_float32(tiny_encoder)
    small = served.export(encoder, INT8, exports=tiny_exports)
    for one, other in zip(vectors(encoder), vectors(small), strict=True):
        assert torch.nn.functional.cosine_similarity(one, other).min() > 0.98
        assert not torch.equal(one, other)
    assert small.digest == f"int8.{served.FORM}-{encoder.digest}"
    assert (small.base_digest, small.dtype) == (encoder.base_digest, torch.float32)


def test_a_word_piece_of_huge_values_leaves_those_of_the_others(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(1, 4, 16)).astype(np.float32)
    rows[0, 2] *= 300
    matrix = np.random.default_rng(1).normal(size=(16, 8)).astype(np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, n]) for name, n in (("x", 16), ("y", 8))]
    product = helper.make_node("MatMul", ["x", "matrix"], ["y"], name="product")
    graph = helper.make_graph([product], "g", ends[:1], ends[1:], [numpy_helper.from_array(matrix, "matrix")])
    served.scale_rows(graph)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", served.OPSET)], ir_version=9)
    quantize_dynamic(
        model, tmp_path / "small.onnx", weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1}
    )
    [found] = sessions.load(tmp_path / "small.onnx", threads=1).run(None, {"x": rows})
    for one, other in zip(found[0], (rows @ matrix)[0], strict=True):
        assert one == pytest.approx(other, abs=float(np.abs(other).max()) * 0.03)


def test_attention_is_parted_from_its_matrix_where_it_needs_no_more_than_a_mask() -> None:
    both = [
        helper.make_node("Attention", ["x", "matrix", "bias", *more], ["y"], "a", domain="com.microsoft", num_heads=2)
        for more in (["mask"], ["mask", "", "distances"])
    ]
    for node, expected in zip(both, (["MatMul", "Add", "Split", "MultiHeadAttention"], ["Attention"]), strict=True):
        graph = helper.make_graph([node], "g", [], [])
        served.split_attention(graph)
        assert [found.op_type for found in graph.node] == expected


def test_a_text_gets_the_same_vectors_whatever_stands_beside_it(tiny_encoder: Encoder, tiny_exports: Path) -> None:
    small = served.export(tiny_encoder, INT8, exports=tiny_exports)
    together = vectors(small)
    for text, one in zip(TEXTS, together, strict=True):
        [batch] = small.batches([text])
        assert torch.equal(batch.tokens[0][batch.mask[0]], one)


def test_a_thread_without_work_sleeps_soon(tiny_encoder: Encoder, tiny_exports: Path) -> None:
    path = served.path_of(served.export(tiny_encoder, FLOAT32, exports=tiny_exports))
    session = sessions.load(path, threads=2)
    found = session.get_session_options().get_session_config_entry("session.intra_op.spin_duration_us")
    assert int(found) < 1000


def test_an_encoder_is_exported_once_and_a_tuned_one_is_not_kept(tiny_encoder: Encoder, tmp_path: Path) -> None:
    for _ in range(2):
        served.export(tiny_encoder, INT8, exports=tmp_path)
        [path] = tmp_path.iterdir()
        assert path.name == f"{tiny_encoder.digest}-int8.{served.FORM}.onnx"
        written = path.stat().st_mtime_ns
    served.export(tiny_encoder, INT8, exports=tmp_path)
    assert path.stat().st_mtime_ns == written
    tuned = tiny_encoder.tuned_with({"encoder.layer.1.output.dense.bias": torch.ones(32)})
    found = served.export(tuned, INT8, exports=tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert found.network.path.exists()
    assert not np.allclose(vectors(found)[0], vectors(served.export(tiny_encoder, INT8, exports=tmp_path))[0])


def test_a_kept_file_that_is_no_graph_is_named(tiny_encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / f"{tiny_encoder.digest}-int8.{served.FORM}.onnx").write_bytes(b"half a file")
    with pytest.raises(ModelFolderError, match=r"\.onnx is not a model that ONNX Runtime reads"):
        served.export(tiny_encoder, INT8, exports=tmp_path)


def test_exporting_says_nothing_in_logs_and_leaves_them_as_they_were(
    tiny_encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:

    before = (logging.root.handlers[:], logging.root.level, logging.root.disabled)
    with caplog.at_level(logging.INFO):
        served.write(tiny_encoder, INT8, tmp_path / "encoder.onnx")
    assert caplog.records == []
    assert (logging.root.handlers[:], logging.root.level, logging.root.disabled) == before


def test_exporting_leaves_the_encoder_as_it_was(tiny_encoder: Encoder, tmp_path: Path) -> None:
    before = tiny_encoder.network.config._attn_implementation, tiny_encoder.network.dtype
    served.write(tiny_encoder, FLOAT32, tmp_path / "encoder.onnx")
    assert (tiny_encoder.network.config._attn_implementation, tiny_encoder.network.dtype) == before
