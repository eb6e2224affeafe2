"""Everything that writes to the database, by noun. Effects outside it follow the commit, and can be repeated."""
