"""The two tokenizers, from files on this machine, and proof that each knows its words.

Given a file it does not find, transformers 5 answers with an empty tokenizer instead of an error: every word is
[UNK] then, and the scores no longer depend on the prompt. So what comes back is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crdiff.scoring.errors import ScoringError

MAX_TOKENS = 35
"""Tokens ImageReward was trained on, [CLS] and [SEP] among them; the rest of a prompt is cut off."""

BERT_WORDS = 30522
_BERT_MARKS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


class BertTokens:
    """bert-base-uncased with the marks [DEC] and [ENC], as the image-reward package sets it up."""

    def __init__(self, vocab: Path) -> None:
        check_vocab(vocab)
        from transformers import BertTokenizer

        # The only form that is right in all versions: transformers 5 ignores the keyword vocab_file.
        tokenizer: Any = BertTokenizer(str(vocab))
        tokenizer.add_special_tokens({"bos_token": "[DEC]"})
        tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
        marks = [tokenizer.convert_tokens_to_ids(mark) for mark in ("[CLS]", "[SEP]", "[DEC]", "[ENC]")]
        if len(tokenizer) != BERT_WORDS + 2 or marks != [101, 102, BERT_WORDS, BERT_WORDS + 1]:
            raise ScoringError(
                f"The transformers package made a tokenizer of {len(tokenizer)} words from {vocab}, which has "
                f"{BERT_WORDS}; scores would not depend on the prompt, so ImageReward is not used."
            )
        self._tokenizer = tokenizer

    def ids(self, text: str) -> list[int]:
        """Token numbers of a text, 2 to 35 of them, from [CLS] to [SEP]."""
        return list(self._tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"])


def check_vocab(path: Path) -> None:
    """Refuse a vocabulary that is not bert-base-uncased's, such as a Chinese one of the same file name.

    Raises:
        ScoringError: naming the file and what it holds.
    """
    try:
        words = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ScoringError(f"{path} cannot be read as a vocabulary ({error}).") from None
    if words and words[-1] == "":
        words.pop()
    if len(words) != BERT_WORDS or any(words[place].rstrip("\r") != mark for place, mark in _BERT_MARKS.items()):
        raise ScoringError(
            f"{path} is not the vocabulary of bert-base-uncased: it has {len(words)} words instead of {BERT_WORDS}, "
            "or its marks stand elsewhere."
        )


class ClipTokens:
    """CLIP's tokenizer, from a folder with its files.

    Args:
        folder: holds ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``.
        words: size of the vocabulary that the model was trained with.
        length: most tokens of the model, start and end among them.
    """

    def __init__(self, folder: Path, words: int, length: int) -> None:
        from transformers import CLIPTokenizer

        try:
            tokenizer: Any = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:
            raise ScoringError(f"CLIP's tokenizer cannot be read from {folder} ({_short(error)}).") from None
        probe: Sequence[int] = tokenizer("a red cat")["input_ids"]
        if len(tokenizer) != words or len(probe) < 5 or len(set(probe)) < 5:
            raise ScoringError(
                f"The tokenizer in {folder} has {len(tokenizer)} words instead of {words} or does not know simple "
                "ones; scores would not depend on the prompt, so it is not used."
            )
        self._tokenizer = tokenizer
        self._length = length

    def ids(self, text: str) -> list[int]:
        """Token numbers of a text, from the start mark to the end mark."""
        return list(self._tokenizer(text, truncation=True, max_length=self._length)["input_ids"])


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
