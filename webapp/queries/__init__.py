"""Everything that only reads the database, by noun."""
