"""A small ImageReward by the package itself."""

from __future__ import annotations

import published_reward
import pytest
import torch

from crdiff.scoring.model_files import ModelFiles


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reward_home(tmp_path_factory):
    """A models folder whose ImageReward folder holds the vocabulary."""
    folder = tmp_path_factory.mktemp("models")
    published_reward.write_vocab(folder / "ImageReward" / "vocab.txt")
    return folder


@pytest.fixture(scope="session")
def package_reward(reward_home, tmp_path_factory):
    """The package's own model, whose random weights are saved in the models folder."""
    vocab = reward_home / "ImageReward" / "vocab.txt"
    model = published_reward.make_reward(vocab, tmp_path_factory.mktemp("config"))
    weights = model.state_dict()
    # The published file is of 2023, when transformers still saved this count.
    weights["blip.text_encoder.embeddings.position_ids"] = torch.arange(512).expand(1, -1)
    torch.save(weights, reward_home / "ImageReward" / "ImageReward.pt")
    return model


@pytest.fixture
def reward_files(package_reward, reward_home, tmp_path):
    return ModelFiles(models=reward_home, home=tmp_path / "cache", hub=tmp_path / "hub")
