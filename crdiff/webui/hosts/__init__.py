"""One thin module for each host; which one applies is decided by what the loaded model looks like."""
