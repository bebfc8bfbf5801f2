const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * The wish of whoever runs this process that it end: SIGINT or SIGTERM.
 *
 * The first one resolves `requested` and leaves the rest to the command. The second one ends the process at once, by
 * that signal: somebody will not wait.
 */
export class Shutdown {
  readonly requested: Promise<NodeJS.Signals>;
  /** Aborts with a {@link ShutdownRequested}. */
  readonly signal: AbortSignal;
  readonly #stop: () => void;

  constructor() {
    const controller = new AbortController();
    this.signal = controller.signal;
    let resolveRequested!: (signal: NodeJS.Signals) => void;
    this.requested = new Promise((resolve) => {
      resolveRequested = resolve;
    });
    const onSignal = (signal: NodeJS.Signals) => {
      if (controller.signal.aborted) {
        this.#stop();
        process.kill(process.pid, signal);
        return;
      }
      controller.abort(new ShutdownRequested(signal));
      resolveRequested(signal);
    };
    for (const signal of SIGNALS) process.on(signal, onSignal);
    this.#stop = () => {
      for (const signal of SIGNALS) process.off(signal, onSignal);
    };
  }

  /** From now on, signals end the process at once. */
  [Symbol.dispose](): void {
    this.#stop();
  }

  /** Resolves or rejects with `work`; rejects with {@link ShutdownRequested} when the process is told to end first. */
  async during<T>(work: Promise<T>): Promise<T> {
    const ended = this.requested.then((signal) => {
      throw new ShutdownRequested(signal);
    });
    // Whichever loses is nobody's business any more.
    ended.catch(() => {});
    work.catch(() => {});
    return Promise.race([work, ended]);
  }
}

/** The process was told to end before its work was done. */
export class ShutdownRequested extends Error {
  override readonly name = 'ShutdownRequested';

  /** @param left what has become of the work */
  constructor(
    readonly signalName: NodeJS.Signals,
    left = '',
  ) {
    super(`ended by ${signalName}${left === '' ? '' : `: ${left}`}`);
  }
}

/** What `work` settles to. Where it was told to end, the error says what is left then. */
export async function tellingWhatIsLeft<T>(work: Promise<T>, left: () => string): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw error instanceof ShutdownRequested ? new ShutdownRequested(error.signalName, left()) : error;
  }
}
