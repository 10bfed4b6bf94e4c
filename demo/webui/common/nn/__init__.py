"""The networks that the stand-in hosts run."""
