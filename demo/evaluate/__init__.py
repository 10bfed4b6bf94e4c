"""What CR-Diff does to the demo model's pictures, in numbers: ``python -m demo.evaluate``."""
