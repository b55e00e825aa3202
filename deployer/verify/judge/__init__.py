"""Judge attempts: results, findings, and the hop at fault. Pure."""
