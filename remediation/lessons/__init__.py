"""What recipes learn from and are looked at with: pools of requests, answers, the instance."""
