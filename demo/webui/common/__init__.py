"""What both stand-in hosts share: the model code, the host internals, and the common part of their ``modules``."""
