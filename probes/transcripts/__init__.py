"""Transcripts: what was asked and answered, kept as keyed hashes or sealed, for as long as the settings say."""
