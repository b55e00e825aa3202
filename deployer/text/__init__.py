"""Text for output: times, masked secrets, and summaries of PEM blocks."""
