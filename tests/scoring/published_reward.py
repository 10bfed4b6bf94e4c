"""The image-reward package itself, at a small size, as the reference to hold the own reader against.

Its import needs packages that scoring does not: fairscale and the training part are replaced by empty ones, and on
transformers 4.56 and later three functions are put back where the package looks for them. On transformers 5 it cannot
be made to work without rewriting it.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
import warnings
from pathlib import Path
from unittest import mock

import torch

WORDS = 30522


def write_vocab(path: Path) -> Path:
    """A vocabulary with bert-base-uncased's size and marks, letters, their continuations and some words."""
    words = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(i) for i in range(33, 127) if not chr(i).isupper()] + list("éüß猫画") + ["中"]
    words += letters + ["##" + letter for letter in letters]
    words += ["a", "cat", "red", "house", "left", "of", "yellow", "tree", "by", "day", "the", "##s", "##ing", "paint"]
    words = list(dict.fromkeys(words))
    words += [f"word{i}" for i in range(WORDS - len(words))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return path


def _stub(name: str, **content: object) -> None:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__path__ = []  # type: ignore[attr-defined]
    for key, value in content.items():
        setattr(module, key, value)
    sys.modules.setdefault(name, module)


def import_package():
    """The module ImageReward.ImageReward; it also silences warnings for good, which is undone here."""
    import transformers.modeling_utils as old_home
    from transformers import pytorch_utils

    for name in ("apply_chunking_to_forward", "find_pruneable_heads_and_indices", "prune_linear_layer"):
        if not hasattr(old_home, name):
            setattr(old_home, name, getattr(pytorch_utils, name))
    for name in ("fairscale", "fairscale.nn", "fairscale.nn.checkpoint"):
        _stub(name)
    _stub("fairscale.nn.checkpoint.checkpoint_activations", checkpoint_wrapper=lambda module: module)
    _stub("clip")
    _stub("ImageReward.ReFL")
    with warnings.catch_warnings():
        import ImageReward  # noqa: F401
    return sys.modules["ImageReward.ImageReward"]


def make_reward(vocab: Path, folder: Path, seed: int = 0):
    """The package's model with random weights: 2 + 2 layers, 128 wide vision, 768 wide text as its head demands."""
    module = import_package()
    from ImageReward.models.BLIP import blip, blip_pretrain
    from ImageReward.models.BLIP.vit import VisionTransformer

    config = {
        "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 256,
        "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12,
        "num_hidden_layers": 2, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": WORDS + 2,
        "encoder_width": 128, "add_cross_attention": True,
    }  # fmt: skip
    med = folder / "med_config.json"
    med.write_text(json.dumps(config))

    def small_vit(vit, image_size, *_):
        return VisionTransformer(img_size=image_size, patch_size=16, embed_dim=128, depth=2, num_heads=2), 128

    bert = blip.BertTokenizer
    with (
        mock.patch.object(blip_pretrain, "create_vit", small_vit),
        mock.patch.object(blip.BertTokenizer, "from_pretrained", return_value=bert(str(vocab))),
        torch.random.fork_rng(),
    ):
        torch.manual_seed(seed)
        model = module.ImageReward(med_config=str(med), device="cpu")
        for name, parameter in model.named_parameters():
            # Its own start makes every reward the same, and biases of 0 would hide a forgotten one.
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 0
            torch.nn.init.normal_(parameter, std=1.2 / fan_in**0.5 if fan_in else 0.1)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.data += 1
            if "embeddings" in name or name.endswith(("cls_token", "pos_embed")):
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()
