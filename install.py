"""Nothing to install: CR-Diff needs only what every WebUI brings (torch, gradio, numpy, safetensors)."""
