"""Demo data that Caseloop makes itself: synthetic calls and messages, labelled by construction."""

SOURCE = "demo"  # Of every case that is made here; pages say by it that a case is synthetic
