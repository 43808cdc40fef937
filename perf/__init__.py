"""Measurements of tritonnet against torch; README.md says what is measured and how."""
