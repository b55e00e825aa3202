"""From desired and observed state to a plan, and what a plan looks like."""
