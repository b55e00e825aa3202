"""Sites: the value, its validation, certificate files, and the stages of ACME certificates."""
