"""A replica of an LLM, step by step: the reference that `llm` is held against. Slow and plain.

A step is either one prefill of all waiting requests that fit, or one decode of all running ones; with chunked prefill,
both. A step's requests are settled at its begin.
"""

from __future__ import annotations

import math
from collections import deque

from simulator.serving.llm_request import LlmRequest, next_quit_s, take_impatient
from workloads.serving.llm_times import LlmTimes


class SteppedReplica:
    """See the module; the same as `llm.Replica`, one step at a time."""

    def __init__(self, times: LlmTimes, now_s: float, patience_s: float = math.inf) -> None:
        self._times, self.now_s, self._patience_s = times, now_s, patience_s
        self.waiting: deque[LlmRequest] = deque()
        self._prefilling: list[LlmRequest] = []  # chunked
        self._running: list[LlmRequest] = []  # in order of admission
        self.done: list[LlmRequest] = []
        self.quitters: list[LlmRequest] = []

    @property
    def num_outstanding(self) -> int:
        return len(self.waiting) + self.num_in_service

    @property
    def num_in_service(self) -> int:
        return len(self._prefilling) + len(self._running)

    @property
    def next_finish_s(self) -> float:
        """No request finishes before; inf where there is none."""
        return self.now_s if self.num_outstanding else math.inf

    @property
    def idle_from_s(self) -> float:
        """It is not done before with all that it has; a time at which one more step has been made."""
        waiting = self.waiting if self._patience_s == math.inf else ()
        requests = (*self._running, *self._prefilling, *waiting)
        steps = max((request.output - request.generated for request in requests), default=0)
        return max(self.now_s + steps * self._times.least_step_s, math.nextafter(self.now_s, math.inf))

    def offer(self, request: LlmRequest) -> None:
        """A request comes, after `run` up to now."""
        self.waiting.append(request)

    def run(self, until_s: float) -> None:
        """All steps that begin before `until_s`."""
        while self.num_outstanding:
            if not self.num_in_service:
                self.now_s = max(self.now_s, self.waiting[0].joined_s)
            if self.now_s >= until_s:
                return
            self.give_up(self.now_s)
            if self.num_outstanding:
                (self._chunked_step if self._times.chunk_tokens else self._step)()

    # ---- one step
    def _step(self) -> None:
        admitted = self._admit()
        if admitted:
            tokens = [request.context for request in admitted]
            self.now_s += self._times.prefill_s(sum(tokens), sum(t * t for t in tokens))
            self._running += admitted
            for request in admitted:
                self._add_token(request)
        else:
            self._make_room()
            self.now_s += self._decode_s()
            for request in list(self._running):
                self._add_token(request)

    def _chunked_step(self) -> None:
        times = self._times
        self._prefilling += self._admit()
        self._make_room()
        decoding, left = list(self._running), times.chunk_tokens - len(self._running)
        took = []
        duration_s = 0.0
        for request in self._prefilling:
            chunk = min(left, request.context - request.prefilled)
            if chunk <= 0:
                break
            before, after = request.prefilled, request.prefilled + chunk
            duration_s += times.prefill_per_token_s * chunk
            duration_s += times.prefill_per_token2_s * (after * after - before * before)
            left -= chunk
            took.append((request, after))
        fixed_s = max(times.decode_fixed_s if decoding else 0.0, times.prefill_fixed_s if took else 0.0)
        self.now_s += fixed_s + duration_s + (self._decode_s() - times.decode_fixed_s if decoding else 0.0)
        for request in decoding:
            self._add_token(request)
        for request, after in took:
            request.prefilled = after
            if after == request.context:
                self._prefilling.remove(request)
                self._running.append(request)
                self._add_token(request)

    def _admit(self) -> list[LlmRequest]:
        """Takes those from the queue that fit, in order, until one doesn't."""
        admitted: list[LlmRequest] = []
        used, tokens, times = self._used, 0, self._times
        while self.waiting and self.num_in_service + len(admitted) < times.max_batch:
            need = self.waiting[0].context
            if used + need + 1 > times.kv_tokens:
                break
            if not times.chunk_tokens and admitted and tokens + need > times.max_prefill_tokens:
                break
            used, tokens = used + need, tokens + need
            admitted.append(self.waiting.popleft())
        return admitted

    def _make_room(self) -> None:
        """Preempts the last admitted until each of the others can have a token more; they begin their prefill anew."""
        fewest = 0 if self._prefilling else 1
        while self._used + len(self._running) > self._times.kv_tokens and len(self._running) > fewest:
            request = self._running.pop()
            request.prefilled = 0
            self.waiting.appendleft(request)

    def _decode_s(self) -> float:
        times, context = self._times, sum(request.context for request in self._running)
        return (
            times.decode_fixed_s + times.decode_per_request_s * len(self._running) + times.decode_per_token_s * context
        )

    def _add_token(self, request: LlmRequest) -> None:
        request.generated += 1
        if request.first_s < 0:
            request.first_s = self.now_s
        if request.generated >= request.output:
            request.finish_s = self.now_s
            self._running.remove(request)
            self.done.append(request)

    @property
    def _used(self) -> int:
        """Tokens of context in memory; of those being prefilled, all that they will have."""
        return sum(request.context for request in self._running) + sum(r.context for r in self._prefilling)

    # ---- those who leave
    @property
    def next_quit_s(self) -> float:
        """When the next one gives up, unless it is admitted before; inf where nobody does."""
        return next_quit_s(self.waiting, self._patience_s)

    def give_up(self, before_s: float) -> None:
        """Takes out those who gave up before a time, after `run` up to it."""
        self.quitters += take_impatient(self.waiting, self._patience_s, before_s)

    def take_all(self) -> list[LlmRequest]:
        """Takes out everything that is not done."""
        requests = [*self._running, *self._prefilling, *self.waiting]
        self._running, self._prefilling = [], []
        self.waiting.clear()
        return requests
