"""The demo's world: two things side by side, at some time of the day."""
