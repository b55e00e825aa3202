"""The results of a run: for terminals, as JSON, HTML, JUnit XML and Prometheus metrics."""
