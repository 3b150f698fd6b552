"""Files for what stands around alignd on a host: proxies before vLLM, and systemd units."""
