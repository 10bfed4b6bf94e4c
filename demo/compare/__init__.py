"""What the demo adds to the stand-in's txt2img tab: examples, sizes and the Compare button. A WebUI extension."""
