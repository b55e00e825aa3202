"""Values as text for people: times, and secrets taken out."""
