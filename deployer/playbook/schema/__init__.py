"""The keys of the language, their types and their values."""
