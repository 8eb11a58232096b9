"""An example application: FastAPI, SQLite and a cache of products."""
