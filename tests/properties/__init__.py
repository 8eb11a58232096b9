"""What must hold whatever happens: histories of real processes, and random calls against a dict."""
