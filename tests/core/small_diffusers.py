"""Makes diffusers importable beside the huggingface-hub that gradio pins; imported before it."""

from __future__ import annotations

import huggingface_hub

# diffusers asks for a later huggingface-hub, for a file format that nothing here reads.
for name in ("DDUFEntry", "read_dduf_file"):
    if not hasattr(huggingface_hub, name):
        setattr(huggingface_hub, name, object)
