"""Plans: computed from desired and observed state, as text and as JSON."""
