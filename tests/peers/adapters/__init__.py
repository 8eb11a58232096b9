"""One thin adapter for each library, as its documentation has it."""
