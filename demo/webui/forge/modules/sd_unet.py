"""Nothing can take the UNet's place in this host."""

current_unet = None
