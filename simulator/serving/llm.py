"""A replica of an LLM with continuous batching, many steps at a time.

Between two events (somebody comes, is admitted, finishes, is preempted) all steps decode the same n requests, and each
makes the context n tokens longer: k steps take k·d + c·n·k(k−1)/2 seconds, where d is what the first takes. So a step
need not be simulated to be known, and the times are those of `llm_steps`, the reference, to the last few bits. The
requests' tokens aren't counted one by one either: a request that had no token at decode step `base` has k − base after
step k.
"""

from __future__ import annotations

import math
from collections import deque
from heapq import heapify, heappop, heappush

from simulator.serving.llm_request import LlmRequest, next_quit_s, take_impatient
from workloads.serving.llm_times import LlmTimes


class Replica:
    """One replica: what waits, what is being prefilled (chunked), what decodes.

    Args:
        now_s: when it is ready; from then on the end of its last step.
        patience_s: after which one that waits for its first token gives up.
    """

    def __init__(self, times: LlmTimes, now_s: float, patience_s: float = math.inf) -> None:
        self._times, self.now_s, self._patience_s = times, now_s, patience_s
        self._is_patient = patience_s == math.inf
        self._fixed_s, self._kv_tokens, self._chunk_tokens = times.decode_fixed_s, times.kv_tokens, times.chunk_tokens
        self._per_request_s, self._per_token_s = times.decode_per_request_s, times.decode_per_token_s
        self.waiting: deque[LlmRequest] = deque()
        self._prefilling: deque[LlmRequest] = deque()
        self._reserved = 0  # context of those
        self._running: dict[LlmRequest, None] = {}  # in order of admission
        self._ends: list[tuple[int, int, LlmRequest]] = []  # (decode step at which it finishes, tie, it), a heap
        self._num_entered = 0
        self._step = 0  # decode steps so far
        self._context = 0  # tokens of all that run
        self.done: list[LlmRequest] = []
        self.quitters: list[LlmRequest] = []

    @property
    def num_outstanding(self) -> int:
        return len(self.waiting) + len(self._prefilling) + len(self._running)

    @property
    def num_in_service(self) -> int:
        return len(self._prefilling) + len(self._running)

    def offer(self, request: LlmRequest) -> None:
        """A request comes, after `run` up to now."""
        self.waiting.append(request)

    def run(self, until_s: float) -> None:
        """All steps that begin before `until_s`."""
        waiting, running = self.waiting, self._running
        while self.now_s < until_s or waiting:
            if waiting:
                if not running and not self._prefilling and waiting[0].joined_s > self.now_s:
                    self.now_s = waiting[0].joined_s
                if self.now_s >= until_s:
                    return
                if not self._is_patient:
                    self.give_up(self.now_s)
                admitted = self._admit()
                if admitted and not self._chunk_tokens:
                    self._prefill(admitted)
                    continue
                for request in admitted:
                    self._prefilling.append(request)
                    self._reserved += request.context
            stop_s = until_s if self._is_patient else min(until_s, self.next_quit_s)
            if self._prefilling:
                self._mixed_steps(stop_s)
            elif running:
                self._decode(stop_s)
            else:
                return

    @property
    def next_finish_s(self) -> float:
        """No request finishes before, whoever comes; inf where there is none."""
        if self.waiting or self._prefilling:
            return self.now_s + min(self._times.prefill_fixed_s, self._fixed_s)
        if not self._running:
            return math.inf
        num, steps = len(self._running), self._ends[0][0] - self._step
        first_s = self._fixed_s + self._per_request_s * num + self._per_token_s * self._context
        return self.now_s + (steps * first_s + self._per_token_s * num * (steps * (steps - 1) // 2))

    @property
    def idle_from_s(self) -> float:
        """It is not done before with all that it has; a time at which one more step has been made."""
        others = (*self._prefilling, *self.waiting) if self._is_patient else self._prefilling
        steps = max((request.output - request.generated for request in others), default=0)
        steps = max(steps, max(self._ends)[0] - self._step if self._ends else 0)
        return max(self.now_s + steps * self._times.least_step_s, math.nextafter(self.now_s, math.inf))

    # ---- steps
    def _prefill(self, admitted: list[LlmRequest]) -> None:
        tokens = tokens2 = 0
        for request in admitted:
            context = request.prompt + request.generated
            tokens += context
            tokens2 += context * context
        self.now_s += self._times.prefill_s(tokens, tokens2)
        for request in admitted:
            self._enter(request)

    def _enter(self, request: LlmRequest) -> None:
        """Its prefill is done, which makes one token."""
        generated = request.generated = request.generated + 1
        if request.first_s < 0:
            request.first_s = self.now_s
        if generated >= request.output:
            request.finish_s = self.now_s
            self.done.append(request)
            return
        base = request.base = self._step - generated
        self._running[request] = None
        self._context += request.prompt + generated
        self._num_entered += 1
        heappush(self._ends, (base + request.output, self._num_entered, request))

    def _decode(self, until_s: float) -> None:
        """As many steps as are alike: until somebody finishes, memory is full, or time is up."""
        num, context, kv_tokens = len(self._running), self._context, self._kv_tokens
        if context + num > kv_tokens:
            self._make_room()
            num, context = len(self._running), self._context
        first_s = self._fixed_s + self._per_request_s * num + self._per_token_s * context
        more_s = self._per_token_s * num  # that each step takes longer than the one before
        steps = self._ends[0][0] - self._step
        if num > 1 and context + steps * num > kv_tokens:
            steps = (kv_tokens - context) // num
        now_s = self.now_s
        end_s = now_s + (steps * first_s + more_s * (steps * (steps - 1) // 2))
        if end_s >= until_s and steps > 1:
            steps = _steps(first_s - 0.5 * more_s, 0.5 * more_s, until_s - now_s, steps)
            end_s = now_s + (steps * first_s + more_s * (steps * (steps - 1) // 2))
        self.now_s = end_s
        self._count(steps, num)

    def _count(self, steps: int, num: int) -> None:
        """`num` requests have made `steps` tokens each; who has all of them is done."""
        self._step = step = self._step + steps
        self._context += steps * num
        ends = self._ends
        while ends and ends[0][0] <= step:
            request = heappop(ends)[2]
            del self._running[request]
            self._context -= request.prompt + request.output
            request.generated, request.finish_s = request.output, self.now_s
            self.done.append(request)

    def _mixed_steps(self, until_s: float) -> None:
        """Steps that decode, and prefill a chunk: as many as are alike, up to the end of a prompt."""
        self._make_room()
        times, num = self._times, len(self._running)
        chunk, head = times.chunk_tokens - num, self._prefilling[0]
        fixed_s = max(times.decode_fixed_s if num else 0.0, times.prefill_fixed_s if chunk > 0 else 0.0)
        decode_s = times.decode_per_request_s * num + times.decode_per_token_s * self._context
        whole = (head.context - head.prefilled - 1) // chunk if chunk > 0 else 1 << 60  # that don't end its prompt
        if whole < 1:
            self._last_chunk(fixed_s + decode_s, chunk, num)
            return
        chunk = max(chunk, 0)
        before = head.prefilled
        most = whole if not num else min(whole, self._ends[0][0] - self._step)
        if num:
            room = (times.kv_tokens - self._context - self._reserved) // num
            most = min(most, room)
        per_step_s = fixed_s + decode_s + times.prefill_per_token_s * chunk
        per_step_s += 2.0 * times.prefill_per_token2_s * before * chunk - 0.5 * times.decode_per_token_s * num
        per_step2_s = times.prefill_per_token2_s * chunk * chunk + 0.5 * times.decode_per_token_s * num
        steps = _steps(per_step_s, per_step2_s, until_s - self.now_s, most)
        self.now_s += per_step_s * steps + per_step2_s * (steps * steps)
        head.prefilled += steps * chunk
        self._count(steps, num)

    def _last_chunk(self, duration_s: float, left: int, num: int) -> None:
        """One step that ends a prompt, and begins the next ones with what is left."""
        times = self._times
        ended: list[LlmRequest] = []
        for request in self._prefilling:
            chunk = min(left, request.context - request.prefilled)
            if chunk <= 0:
                break
            before, after = request.prefilled, request.prefilled + chunk
            duration_s += times.prefill_per_token_s * chunk
            duration_s += times.prefill_per_token2_s * (after * after - before * before)
            left -= chunk
            request.prefilled = after
            if after == request.context:
                ended.append(request)
        self.now_s += duration_s
        self._count(1, num) if num else None
        for request in ended:
            self._prefilling.popleft()
            self._reserved -= request.context
            self._enter(request)

    # ---- memory
    def _admit(self) -> list[LlmRequest]:
        """Takes those from the queue that fit, in order, until one doesn't."""
        waiting, times = self.waiting, self._times
        admitted: list[LlmRequest] = []
        used, tokens = self._context + self._reserved, 0
        free = times.max_batch - len(self._running) - len(self._prefilling)
        while waiting and len(admitted) < free:
            need = waiting[0].prompt + waiting[0].generated
            if used + need + 1 > times.kv_tokens:
                break
            tokens += need
            if admitted and tokens > times.max_prefill_tokens and not times.chunk_tokens:
                break
            used += need
            admitted.append(waiting.popleft())
        return admitted

    def _make_room(self) -> None:
        """Preempts the last admitted until each of the others can have a token more; they begin their prefill anew."""
        running, most = self._running, self._times.kv_tokens - self._reserved
        fewest = 0 if self._prefilling else 1
        while self._context + len(running) > most and len(running) > fewest:
            request, _ = running.popitem()
            request.generated = self._step - request.base
            request.prefilled = 0
            self._ends = [entry for entry in self._ends if entry[2] is not request]
            heapify(self._ends)
            self._context -= request.context
            self.waiting.appendleft(request)

    @property
    def next_quit_s(self) -> float:
        """When the next one gives up, unless it is admitted before; inf where nobody does."""
        return math.inf if self._is_patient else next_quit_s(self.waiting, self._patience_s)

    def give_up(self, before_s: float) -> None:
        """Takes out those who gave up before a time, after `run` up to it."""
        if not self._is_patient:
            self.quitters += take_impatient(self.waiting, self._patience_s, before_s)

    def take_all(self) -> list[LlmRequest]:
        """Takes out everything that is not done."""
        requests = [*self._running, *self._prefilling, *self.waiting]
        self._running.clear()
        self._prefilling.clear()
        self.waiting.clear()
        self._ends.clear()
        self._context = self._reserved = 0
        return requests


def _steps(a_s: float, b_s: float, time_s: float, most: int) -> int:
    """The least k from 1 to `most` with a·k + b·k² ≥ `time_s`, else `most`; a + b > 0."""
    if most <= 1 or a_s * most + b_s * (most * most) < time_s:
        return max(most, 1)
    if b_s > 0.0:
        k = math.ceil((math.sqrt(a_s * a_s + 4.0 * b_s * time_s) - a_s) / (2.0 * b_s))
    else:
        k = math.ceil(time_s / a_s)
    k = min(max(k, 1), most)
    while k > 1 and a_s * (k - 1) + b_s * ((k - 1) * (k - 1)) >= time_s:
        k -= 1
    while k < most and a_s * k + b_s * (k * k) < time_s:
        k += 1
    return k
