"""What the commands of python -m ml do. Each takes its options and returns the exit code."""
