"""A transformer rung is a Hugging Face folder: transformers reads its tokenizer and labels, transformers.js answers from it."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

from understudy.recipes.classify import train
from understudy.recipes.config import TrainConfig
from understudy.run.answer import load
from workshop import make_teacher, rows, write_csv

TEXTS = ["where is my parcel", "refund please!", "MY CARD, and your chip?", "zürich 🙂 pin 77"]
SCRIPT = """
import { AutoTokenizer, AutoModelForSequenceClassification, env } from '@huggingface/transformers';
const [folder, name, texts] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];
env.allowRemoteModels = false; env.localModelPath = folder;
const tokenizer = await AutoTokenizer.from_pretrained(name);
const model = await AutoModelForSequenceClassification.from_pretrained(name, { dtype: 'q8' });
const out = [];
for (const text of texts) {
  const inputs = await tokenizer(text);
  const { logits } = await model({ input_ids: inputs.input_ids, attention_mask: inputs.attention_mask });
  out.push(Array.from(logits.data));
}
console.log(JSON.stringify({ logits: out, labels: model.config.id2label }));
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle whose transformer rungs both stay, because nothing cheaper may answer."""
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(folder / "home"))
        make_teacher(folder / "teacher")
        write_csv(folder / "train.csv", rows(120, 1))
        write_csv(folder / "test.csv", rows(30, 2))
        config = TrainConfig(teacher=str(folder / "teacher"), test=str(folder / "test.csv"), size="small", threads=1)
        from understudy.recipes import classify

        # The ladder is cut to the transformer, so that the bundle must hold it.
        patch.setitem(classify.LADDERS, "small", ("tiny",))
        return load(train(folder / "train.csv", out=folder / "bundle", config=config).path)


def test_transformers_reads_tokenizer_and_labels(bundle):
    from transformers import AutoConfig, AutoTokenizer

    folder = bundle.bundle.path / "tiny"
    config = AutoConfig.from_pretrained(folder)
    assert tuple(config.id2label[index] for index in range(config.num_labels)) == bundle.labels
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours = bundle._model(bundle.manifest.rungs[0])._tokenizer
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == ours.ids(text, specials=True)


def test_the_onnx_file_alone_gives_the_same_logits(bundle):
    import onnxruntime as ort
    from transformers import AutoTokenizer

    folder = bundle.bundle.path / "tiny"
    session = ort.InferenceSession(folder / "onnx" / "model_quantized.onnx", providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        inputs = tokenizer(text, return_tensors="np")
        said = session.run(["logits"], {name: inputs[name].astype(np.int64) for name in ("input_ids", "attention_mask")})[0]
        assert np.allclose(said, bundle.raw_logits("tiny", [text]), atol=1e-5)


@pytest.mark.slow
def test_transformers_js_gives_the_same_logits(bundle, tmp_path):
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("Node and npm are not installed, so transformers.js was NOT checked")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    install = subprocess.run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "@huggingface/transformers@4.3.1"],
                             cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if install.returncode:
        pytest.skip(f"npm could not install transformers.js, so it was NOT checked: {install.stderr[-300:]}")
    (tmp_path / "ask.mjs").write_text(SCRIPT)
    done = subprocess.run([node, "ask.mjs", str(bundle.bundle.path), "tiny", json.dumps(TEXTS)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert tuple(told["labels"][str(index)] for index in range(len(bundle.labels))) == bundle.labels
    assert np.allclose(np.array(told["logits"]), bundle.raw_logits("tiny", TEXTS), atol=2e-3)
