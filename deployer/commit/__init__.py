"""What happens on one host between the plan and the confirmation."""
