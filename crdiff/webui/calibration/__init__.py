"""Calibration as a job of the host: plain images are drawn, and what the model's layers see is kept."""
