"""What images are judged by; ``registry`` has all of them."""
