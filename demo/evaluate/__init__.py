"""What CR-Diff does to the demo model's images, in numbers: ``python -m demo.evaluate``."""
