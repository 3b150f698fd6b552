"""Grafana's dashboards, made of code, and the files that bring them into it."""
