/** A pending call that can be withdrawn. */
export interface Timer {
  /** Withdraws the call; nothing happens when it was made already. */
  cancel(): void;
}

/**
 * Time and timers, injected: nothing below reads the time in any other way.
 *
 * A clock may step back; what must rise (tids) is made to rise by its owner.
 */
export interface Clock {
  /** Milliseconds since the epoch; may have a fraction. */
  now(): number;
  /**
   * Calls `fn` once, `delayMs` ms from now or later. The timer does not keep the process alive unless
   * `ref` is true.
   */
  schedule(delayMs: number, fn: () => void, options?: { ref?: boolean }): Timer;
  /** Calls `fn` in the next turn of the event loop. Default: `setImmediate`; a simulation has turns of its own. */
  turn?(fn: () => void): void;
}

/** The machine's clock and timers. */
export const systemClock: Clock = {
  now: () => Date.now(),
  schedule(delayMs, fn, options) {
    // Node fires at once, with a warning, where a delay does not fit 31 bits.
    const timer = setTimeout(fn, Math.min(Math.max(delayMs, 0), 0x7fff_ffff));
    if (!options?.ref) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves in the next turn of the event loop: whoever was ready in this one has come first. */
export function nextTurn(clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (clock.turn) clock.turn(resolve);
    else setImmediate(resolve);
  });
}

/** Resolves after `delayMs` ms of `clock`; rejects with the signal's reason when `signal` aborts first. */
export function delay(
  clock: Clock,
  delayMs: number,
  options: { signal?: AbortSignal; ref?: boolean } = {},
): Promise<void> {
  const { signal, ref = true } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.schedule(
      delayMs,
      () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      },
      { ref },
    );
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
