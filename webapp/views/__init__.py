"""Pages. A view authenticates, parses, calls one action or query, and answers."""
