"""The comments that model code leaves for a job. Nothing is hijacked: this host's model is made to measure."""

from __future__ import annotations

from typing import Any


class _EmbeddingDatabase:
    def __init__(self) -> None:
        self.word_embeddings: dict[str, Any] = {}
        self.skipped_embeddings: dict[str, Any] = {}

    def load_textual_inversion_embeddings(self, force_reload: bool = False) -> None:
        """There are no embeddings."""


class StableDiffusionModelHijack:
    def __init__(self) -> None:
        self.comments: list[str] = []
        self.extra_generation_params: dict[str, Any] = {}
        self.embedding_db = _EmbeddingDatabase()

    def hijack(self, m: Any) -> None:
        pass

    def undo_hijack(self, m: Any) -> None:
        pass

    def apply_circular(self, enable: bool) -> None:
        pass

    def clear_comments(self) -> None:
        self.comments = []
        self.extra_generation_params = {}

    def get_prompt_lengths(self, text: str, cond_stage_model: Any) -> tuple[int, int]:
        _, count = cond_stage_model.process_texts([text])
        return count, cond_stage_model.get_target_prompt_token_count(count)


model_hijack = StableDiffusionModelHijack()
