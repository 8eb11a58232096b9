"""Defects that other libraries have, and this one does not."""
