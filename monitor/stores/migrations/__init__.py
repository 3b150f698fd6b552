"""Migration scripts of the SQL store, one a version; run by ``monitor.stores.versions``."""
