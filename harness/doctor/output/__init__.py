"""Diagnoses to read: on a terminal, as JSON, as SARIF, as annotations of GitHub."""
