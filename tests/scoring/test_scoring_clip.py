"""CLIP score and PickScore of small random models, against a second computation in plain torch and transformers."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from scored_images import image

from crdiff.evaluation.metrics.registry import metric_of
from crdiff.scoring.clip import ClipScorer, pick_score
from crdiff.scoring.errors import ScoringError
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.preprocessing import as_pixels

IMAGES = [image(90, 120, 5), image(64, 64, 6), image(200, 100, 7)]


def _byte_signs():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(i) if i in plain else chr(next(extra)) for i in range(256)]


def write_model(folder, act="quick_gelu", seed=0):
    """A CLIP model of two layers, with a byte-level tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    signs = _byte_signs()
    merges = ["c a", "ca t</w>", "r e", "re d</w>"]
    words = [*signs, *(sign + "</w>" for sign in signs), *(merge.replace(" ", "") for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    tower = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": act,
    }  # fmt: skip
    ids = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    config = CLIPConfig(
        text_config={**tower, **ids, "vocab_size": len(words), "max_position_embeddings": 20},
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        projection_dim=48,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(config).eval()
        for name, value in model.named_parameters():
            if value.dim() > 1:
                torch.nn.init.normal_(value, std=0.3 if "embedding" in name else 1.2 / value[0].numel() ** 0.5)
            elif not name.endswith("logit_scale"):
                value.data += 0.1 * torch.randn_like(value)
    folder.mkdir(parents=True)
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return {name: value.detach() for name, value in model.state_dict().items()}, ids


def _norm(x, w, name):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-5)


def _linear(x, w, name):
    return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))


def _layers(x, w, prefix, act, mask):
    for i in range(2):
        p = f"{prefix}.encoder.layers.{i}."
        h = _norm(x, w, p + "layer_norm1")
        q, k, v = (
            _linear(h, w, p + f"self_attn.{n}_proj").unflatten(-1, (4, 16)).transpose(1, 2) for n in ("q", "k", "v")
        )
        scores = q @ k.transpose(-1, -2) / 4.0 + mask
        x = x + _linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), w, p + "self_attn.out_proj")
        x = x + _linear(act(_linear(_norm(x, w, p + "layer_norm2"), w, p + "mlp.fc1")), w, p + "mlp.fc2")
    return x


def cosine(w, pixels, ids, act):
    """Cosines between images and a text: the architecture of arXiv 2103.00020, written again."""
    n = len(ids)
    x = w["text_model.embeddings.token_embedding.weight"][ids]
    x = x + w["text_model.embeddings.position_embedding.weight"][:n]
    x = _layers(x[None], w, "text_model", act, torch.full((n, n), float("-inf")).triu(1))
    text = _linear(_norm(x, w, "text_model.final_layer_norm")[:, -1], w, "text_projection")
    cells = F.conv2d(pixels, w["vision_model.embeddings.patch_embedding.weight"], stride=16).flatten(2).transpose(1, 2)
    first = w["vision_model.embeddings.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([first, cells], 1) + w["vision_model.embeddings.position_embedding.weight"]
    x = _layers(_norm(x, w, "vision_model.pre_layrnorm"), w, "vision_model", act, torch.zeros(()))
    seen = _linear(_norm(x[:, 0], w, "vision_model.post_layernorm"), w, "visual_projection")
    return F.cosine_similarity(seen, text)


ACTS = {"quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "gelu": F.gelu}


@pytest.mark.parametrize(("name", "act"), [("clip", "quick_gelu"), ("pickscore", "gelu")])
def test_scores_equal_a_second_computation(tmp_path, name, act):
    folder = {"clip": "clip-vit-large-patch14", "pickscore": "PickScore_v1"}[name]
    weights, ids = write_model(tmp_path / "models" / folder, act)
    files = ModelFiles(tmp_path / "models", home=tmp_path / "c", hub=tmp_path / "h")
    scorer = ClipScorer(files) if name == "clip" else pick_score(files)
    assert scorer.available() is None
    scorer.load()
    vocab = json.loads((tmp_path / "models" / folder / "vocab.json").read_text())
    words = [vocab[word + "</w>"] for word in ("a", "red", "cat", ",")]
    tokens = [ids["bos_token_id"], *words, ids["eos_token_id"]]
    prepared = scorer.prepare("A red cat,")
    found = scorer.score(prepared, IMAGES)
    factor = 100.0 if name == "clip" else float(weights["logit_scale"].exp())
    wanted = factor * cosine(weights, as_pixels(IMAGES, 64), torch.tensor(tokens), ACTS[act])
    print(f"largest deviation {(torch.tensor(found) - wanted).abs().max():.1e}")
    assert found == pytest.approx(wanted.tolist(), abs=2e-4)
    assert max(found) - min(found) > 0.1
    other = scorer.score(scorer.prepare("dog"), IMAGES)
    assert abs(other[0] - found[0]) > 0.1
    assert scorer.highest == (100.0 if name == "clip" else None)
    assert scorer.score(prepared, []) == []
    scorer.close()
    with pytest.raises(ScoringError, match="must be loaded"):
        scorer.prepare("dog")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("clip", "clip-vit-base-patch16"), ("clip-l", "clip-vit-large-patch14"), ("pickscore", "PickScore_v1")],
)
def test_clip_and_pickscore_are_those_of_transformers(tmp_path, name, folder):
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model = tmp_path / folder
    write_model(model)
    metric = metric_of(name, ModelFiles(tmp_path, home=tmp_path / "c", hub=tmp_path / "h"))
    metric.load("cpu")

    # As the model card of PickScore calls it; the CLIP score is the cosine alone.
    theirs = CLIPModel.from_pretrained(str(model)).eval()
    pixels = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    tokens = CLIPTokenizer(str(model / "vocab.json"), str(model / "merges.txt"))("a red cat", return_tensors="pt")
    with torch.no_grad():
        text = theirs.get_text_features(**tokens)
        seen = theirs.get_image_features(**pixels(IMAGES, return_tensors="pt"))
        scale = theirs.logit_scale.exp() if name == "pickscore" else 1.0
        expected = scale * torch.cosine_similarity(seen, text)
    assert [metric.score("a red cat", one) for one in IMAGES] == pytest.approx(expected.tolist(), rel=1e-3)
    assert expected.std() > 1e-3 * scale


def test_long_prompts_are_cut_and_batches_split(tmp_path):
    write_model(tmp_path / "m" / "clip-vit-large-patch14")
    scorer = ClipScorer(ModelFiles(tmp_path / "m", home=tmp_path, hub=tmp_path))
    scorer.load()
    assert torch.equal(scorer.prepare("cat " * 40), scorer.prepare("cat " * 60))
    many = [image(64, 70, i) for i in range(10)]
    prepared = scorer.prepare("cat")
    alone = [scorer.score(prepared, [one])[0] for one in many]
    assert scorer.score(prepared, many) == pytest.approx(alone, abs=1e-4)


def test_found_in_the_hubs_cache_with_the_tokenizer_elsewhere(tmp_path):
    snapshots = tmp_path / "hub" / "models--yuvalkirstain--PickScore_v1" / "snapshots"
    write_model(snapshots / "abc")
    home = tmp_path / "hub" / "models--openai--clip-vit-large-patch14" / "snapshots" / "def"
    home.mkdir(parents=True)
    files = ModelFiles(tmp_path / "models", home=tmp_path / "c", hub=tmp_path / "hub")
    for name in ("vocab.json", "merges.txt"):
        (snapshots / "abc" / name).rename(home / name)
    scorer = pick_score(files)
    assert scorer.available() is None
    scorer.load()
    assert len(scorer.score(scorer.prepare("red cat"), IMAGES)) == 3
    (home / "merges.txt").unlink()
    assert "merges.txt" in scorer.available() and "model.safetensors" not in scorer.available()


def test_missing_weights_are_not_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m" / "clip-vit-large-patch14"
    write_model(folder)
    weights = load_file(str(folder / "model.safetensors"))
    weights.pop("visual_projection.weight")
    save_file(weights, str(folder / "model.safetensors"), {"format": "pt"})
    scorer = ClipScorer(ModelFiles(tmp_path / "m", home=tmp_path, hub=tmp_path))
    with pytest.raises(ScoringError, match=r"visual_projection\.weight is missing"):
        scorer.load()


def test_another_models_tokenizer_is_refused(tmp_path):
    folder = tmp_path / "m" / "clip-vit-large-patch14"
    write_model(folder)
    vocab = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({**vocab, "surplus": len(vocab)}))
    scorer = ClipScorer(ModelFiles(tmp_path / "m", home=tmp_path, hub=tmp_path))
    with pytest.raises(ScoringError, match="would not depend on the prompt"):
        scorer.load()


def test_a_broken_file_is_one_sentence(tmp_path):
    folder = tmp_path / "m" / "clip-vit-large-patch14"
    write_model(folder)
    (folder / "model.safetensors").write_bytes(b"12345678")
    scorer = ClipScorer(ModelFiles(tmp_path / "m", home=tmp_path, hub=tmp_path))
    with pytest.raises(ScoringError, match=r"CLIP ViT-L/14 cannot be loaded"):
        scorer.load()
    assert "clip-vit-large-patch14" in ClipScorer(ModelFiles(tmp_path / "x", home=tmp_path, hub=tmp_path)).available()
