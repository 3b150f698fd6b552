"""How busy a vLLM server says it is, from the text of its ``/metrics``. Pure but for remembering the last look."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from probes.target import Load

__all__ = ["LoadReader"]

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_TTFT_SUM, _TTFT_COUNT = "vllm:time_to_first_token_seconds_sum", "vllm:time_to_first_token_seconds_count"
_FINISHED = "vllm:request_success_total"
_MOST = 1e15
"""What is more is no count of requests, and no seconds: with a few of them a sum would be no number any more."""
_WANTED = (_FINISHED, _RUNNING, _WAITING, *_CACHE, _TTFT_SUM, _TTFT_COUNT)


class LoadReader:
    """Reads one look after the other; the time to first token is the mean between two of them."""

    def __init__(self) -> None:
        """Begin without a last look."""
        self._ttft = (0.0, 0.0)
        self._looked = False

    def read(self, page: str) -> Load | None:
        """Read a page; ``None`` where it lacks vLLM's gauges.

        Args:
            page: Text format of Prometheus. Several engines' figures are added up, their cache shares averaged.
        """
        lines = [line for line in page.splitlines() if line.startswith(_WANTED)]
        found: dict[str, list[float]] = {}
        try:
            for family in text_string_to_metric_families("\n".join(lines) + "\n"):
                for sample in family.samples:
                    if 0 <= sample.value <= _MOST:
                        found.setdefault(sample.name, []).append(sample.value)
        except (ValueError, KeyError, IndexError, TypeError):
            return None
        if _RUNNING not in found or _WAITING not in found:
            return None
        cache = next((found[name] for name in _CACHE if name in found), [0.0])
        return Load(
            running=int(sum(found[_RUNNING])),
            waiting=int(sum(found[_WAITING])),
            kv_cache_ratio=min(1.0, sum(cache) / len(cache)),
            finished=int(sum(found[_FINISHED])) if _FINISHED in found else None,
            ttft_seconds=self._mean(sum(found.get(_TTFT_SUM, [0.0])), sum(found.get(_TTFT_COUNT, [0.0]))),
        )

    def _mean(self, seconds: float, count: float) -> float | None:
        before_seconds, before_count = self._ttft
        self._ttft = (seconds, count)
        looked, self._looked = self._looked, True
        if not looked or count <= before_count or seconds < before_seconds:
            return None
        return (seconds - before_seconds) / (count - before_count)
