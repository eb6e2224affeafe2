"""The API, which other programs call. An operation lets a token in, calls one function and answers."""
