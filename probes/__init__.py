"""What a served model does: probes, judges, sweeps and the statistics of drift."""
