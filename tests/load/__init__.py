"""How the desk holds under load: `make load`. Not a test: the figures are of one machine on one day."""
