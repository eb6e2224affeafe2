"""What is measured on the whole program, for minutes: `make soak`. Not tests: the figures are of one machine."""
