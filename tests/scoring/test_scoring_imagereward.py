"""ImageReward from the published file's form, against the image-reward package on the same random weights."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from scored_images import image
from torchvision.transforms import InterpolationMode

from crdiff.scoring.errors import ScoringError
from crdiff.scoring.imagereward import ImageRewardScorer
from crdiff.scoring.model_files import ModelFiles
from crdiff.scoring.preprocessing import as_pixels
from crdiff.scoring.tokens import BertTokens

PROMPTS = [
    "a red house left of a yellow tree, by day",
    "",
    "cat",
    " ".join(["painting"] * 50),
    "Ünïcode 猫 é, don't [SEP] [ENC] \t odd   spaces ÄÖ...",
]
IMAGES = [image(224, 224), image(300, 401, 1), image(512, 333, 2), image(97, 64, 3), image(256, 256, 4)]


def test_scores_equal_the_package_within_1e_5(package_reward, reward_files):
    scorer = ImageRewardScorer(reward_files)
    assert scorer.available() is None
    scorer.load("cpu")
    worst = 0.0
    everything = []
    for prompt in PROMPTS:
        mine = scorer.score(scorer.prepare(prompt), IMAGES)
        theirs = [package_reward.score(prompt, one) for one in IMAGES]
        worst = max(worst, *(abs(a - b) for a, b in zip(mine, theirs)))
        everything.append(mine)
    print(f"largest deviation {worst:.2e}")
    assert worst < 1e-5
    spread = torch.tensor(everything)
    assert spread.std(dim=0).min() > 0.01 and spread.std(dim=1).min() > 0.01  # prompt and image both matter


def test_tokens_equal_the_packages(package_reward, reward_home):
    tokens = BertTokens(reward_home / "ImageReward" / "vocab.txt")
    for prompt in [*PROMPTS, "word7 unaffable ##s", "[DEC] a [MASK] [unused3]", "x" * 120, "a\u200bb \u00adc"]:
        theirs = package_reward.blip.tokenizer(
            prompt, padding="max_length", truncation=True, max_length=35, return_tensors="pt"
        )
        ids = theirs.input_ids[0][theirs.attention_mask[0].bool()].tolist()
        assert tokens.ids(prompt) == ids
        assert len(ids) <= 35


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA", "CMYK"])
@pytest.mark.parametrize("size", [(224, 224), (225, 224), (300, 401), (512, 333), (64, 97), (1024, 1000), (31, 640)])
def test_pixels_are_the_packages_to_the_bit(package_reward, size, mode):
    one = image(*size, mode=mode)
    assert package_reward.preprocess.transforms[0].interpolation is InterpolationMode.BICUBIC
    assert torch.equal(as_pixels([one])[0], package_reward.preprocess(one))


def test_batches_score_as_single_images_do(reward_files):
    scorer = ImageRewardScorer(reward_files)
    scorer.load()
    prepared = scorer.prepare("a cat")
    many = [image(120, 130 + i, i) for i in range(11)]
    together = scorer.score(prepared, many)
    alone = [scorer.score(prepared, [one])[0] for one in many]
    assert together == pytest.approx(alone, abs=1e-5)
    assert scorer.score(prepared, []) == []


def test_half_precision_towers_keep_a_float32_head(reward_files):
    full, half = ImageRewardScorer(reward_files), ImageRewardScorer(reward_files, dtype=torch.float16)
    full.load()
    half.load()
    assert {value.dtype for value in half._network.head.parameters()} == {torch.float32}
    pair = [image(224, 224, i) for i in range(2)]
    a, b = (s.score(s.prepare("a cat"), pair) for s in (full, half))
    assert a == pytest.approx(b, abs=0.05)


def test_a_hosts_torch_load_and_autocast_are_bypassed(reward_files, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: None)  # what A1111's does with files of newer versions
    scorer = ImageRewardScorer(reward_files)
    scorer.load()
    plain = scorer.score(scorer.prepare("a cat"), IMAGES[:1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert scorer.score(scorer.prepare("a cat"), IMAGES[:1]) == pytest.approx(plain, abs=1e-5)


def test_old_and_safetensors_files_give_the_same_scores(package_reward, reward_home, tmp_path):
    from safetensors.torch import save_file

    weights = package_reward.state_dict()
    scores = []
    for name in ("ImageReward.pt", "ImageReward.safetensors"):
        folder = tmp_path / name / "ImageReward"
        folder.mkdir(parents=True)
        (folder / "vocab.txt").symlink_to(reward_home / "ImageReward" / "vocab.txt")
        if name.endswith(".pt"):
            torch.save(weights, folder / name, _use_new_zipfile_serialization=False)
        else:
            save_file({key: value.contiguous() for key, value in weights.items()}, str(folder / name))
        scorer = ImageRewardScorer(ModelFiles(tmp_path / name, home=tmp_path, hub=tmp_path))
        scorer.load()
        scores.append(scorer.score(scorer.prepare("a cat"), IMAGES[:2]))
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)  # where the weights lie decides over the last bit


def test_close_frees_the_model_and_load_brings_it_back(reward_files):
    scorer = ImageRewardScorer(reward_files)
    scorer.load()
    first = scorer.score(scorer.prepare("a cat"), IMAGES[:1])
    network = weakref.ref(scorer._network)
    scorer.close()
    gc.collect()
    assert network() is None
    with pytest.raises(ScoringError, match="must be loaded"):
        scorer.score(torch.tensor([101, 102]), IMAGES[:1])
    scorer.close()
    scorer.load()
    assert scorer.score(scorer.prepare("a cat"), IMAGES[:1]) == pytest.approx(first, abs=1e-5)


def _files_with(tmp_path, reward_home, weights):
    folder = tmp_path / "m" / "ImageReward"
    folder.mkdir(parents=True)
    (folder / "vocab.txt").symlink_to(reward_home / "ImageReward" / "vocab.txt")
    if isinstance(weights, bytes):
        (folder / "ImageReward.pt").write_bytes(weights)
    else:
        torch.save(weights, folder / "ImageReward.pt")
    return ModelFiles(tmp_path / "m", home=tmp_path, hub=tmp_path)


class _Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def _without(key):
    return lambda weights: {name: value for name, value in weights.items() if name != key}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("blip.text_encoder.encoder.layer.1.crossattention.self.key.bias"), "key.bias is missing"),
        (_without("blip.visual_encoder.norm.weight"), "post_layernorm.weight is missing"),
        (_without("mlp.layers.7.weight"), "7.weight"),
        (_without("blip.visual_encoder.patch_embed.proj.weight"), "not ImageReward"),
        (lambda w: {**w, "blip.extra": torch.zeros(1)}, "blip.extra is unknown"),
        (lambda w: {**w, "blip.text_encoder.extra": torch.zeros(1)}, "extra is unknown"),
        (lambda w: {**w, "blip.visual_encoder.norm.bias": torch.zeros(3)}, "another shape"),
        (lambda w: {"a": torch.zeros(1)}, "not ImageReward"),
        (lambda w: {}, "not ImageReward"),
        (lambda w: {"state_dict": w}, "does not hold weights by name"),
        (lambda w: {"x": _Evil()}, "cannot be read"),
        (lambda w: b"", "cannot be read"),
        (lambda w: b"<html>404</html>", "cannot be read"),
        (lambda w: b"PK\x03\x04" + b"\0" * 500, "cannot be read"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_sentence(package_reward, reward_home, tmp_path, capsys, change, words):
    weights = dict(package_reward.state_dict())
    words_key = "blip.text_encoder.embeddings.word_embeddings.weight"
    weights[words_key] = weights[words_key][:50].clone()  # most of the file, and of no use here
    weights = change(weights)
    scorer = ImageRewardScorer(_files_with(tmp_path, reward_home, weights))
    with pytest.raises(ScoringError, match=words) as caught:
        scorer.load()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert scorer._network is None and scorer._tokens is None
    assert "code ran" not in capsys.readouterr().out


def test_a_missing_file_is_named_with_its_place(tmp_path):
    scorer = ImageRewardScorer(ModelFiles(tmp_path / "models", home=tmp_path / "c", hub=tmp_path / "h"))
    sentence = scorer.available()
    for words in ("ImageReward.pt", "vocab.txt", "THUDM/ImageReward", str(tmp_path / "models" / "ImageReward")):
        assert words in sentence
    with pytest.raises(ScoringError, match=r"ImageReward\.pt"):
        scorer.load()


def test_a_vocabulary_of_another_model_is_refused(reward_home, tmp_path):
    files = _files_with(tmp_path, reward_home, {})
    vocab = tmp_path / "m" / "ImageReward" / "vocab.txt"
    vocab.unlink()
    vocab.write_text("\n".join(["[PAD]", *(f"w{i}" for i in range(21127))]))
    assert "21128 words" in ImageRewardScorer(files).available()


def test_an_empty_tokenizer_is_refused(reward_files, monkeypatch):
    import transformers

    class Empty(transformers.BertTokenizer):
        def __len__(self):
            return 7

    monkeypatch.setattr(transformers, "BertTokenizer", Empty)
    scorer = ImageRewardScorer(reward_files)
    with pytest.raises(ScoringError, match="would not depend on the prompt"):
        scorer.load()


def test_nothing_but_images_is_scored(reward_files):
    scorer = ImageRewardScorer(reward_files)
    scorer.load()
    with pytest.raises(ScoringError, match="Image 2"):
        scorer.score(scorer.prepare("a cat"), [IMAGES[0], "cat.png"])
