"""The WebUI side: the only package that knows gradio and the hosts' ``modules``."""
