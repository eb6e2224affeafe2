"""Demo data that Caseloop makes itself: synthetic calls and messages, labelled by construction."""
