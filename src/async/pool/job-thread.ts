import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { type Clock, type Deferred, deferred } from '../../base/index.js';
import type { StorageAttachment } from '../../odb/index.js';
import { EntryModuleError, JobModuleError } from '../process-errors.js';
import { currentLogLevel, fromSentError, writeSentLog } from './thread-log.js';
import type { FromThread, ThreadStart, ToThread } from './thread-messages.js';

/** How long a thread has to let go of the database before it is ended by force. */
const END_MS = 2000;

/** How a thread came to its end. */
export interface ThreadEnd {
  /** What it died of; `undefined` when it ended by itself, or was told to. */
  readonly error: Error | undefined;
  readonly exitCode: number;
}

/** What a {@link JobThread} needs. */
export interface JobThreadOptions {
  /** For logs and debuggers. */
  readonly name: string;
  readonly attachment: StorageAttachment;
  readonly start: Omit<ThreadStart, 'attachment' | 'logLevel' | 'port'>;
  /** Most memory that the thread's objects may take, in MB: past it the thread ends, and usually nothing else. */
  readonly heapMegabytesMax: number;
  readonly clock: Clock;
  /** Told of what the thread says about its job. */
  onMessage(message: Extract<FromThread, { kind: 'finishing' | 'done' }>): void;
  /** Called once, when the thread is gone with everything it held. */
  onEnd(end: ThreadEnd): void;
}

/**
 * A worker thread that runs jobs, as the dispatcher's thread sees it.
 *
 * - starting: it imports the modules of its jobs and opens its view of the database; `ready` settles.
 * - running: messages go both ways.
 * - ended: by itself (`process.exit` in a job, an error that nobody caught, memory exhausted), or told to. What it held is
 *   released before `onEnd` is called, so that whoever owns the database may close it then.
 */
export class JobThread {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #options: JobThreadOptions;
  readonly #ready: Deferred<void> = deferred();
  readonly #ended: Deferred<void> = deferred();
  #error: Error | undefined;
  #isReady = false;
  #hasEnded = false;

  constructor(options: JobThreadOptions) {
    this.#options = options;
    const { module, data, transferList } = options.attachment;
    const { port1, port2 } = new MessageChannel();
    const start: ThreadStart = {
      ...options.start,
      attachment: { module, data },
      logLevel: currentLogLevel(),
      port: port2,
    };
    const execArgv = execArgvWithoutEval();
    this.#worker = new Worker(new URL('./thread-entry.js', import.meta.url), {
      name: options.name,
      workerData: start,
      transferList: [...transferList, port2],
      resourceLimits: { maxOldGenerationSizeMb: options.heapMegabytesMax },
      ...(execArgv ? { execArgv } : {}),
    });
    this.#ready.promise.catch(() => {});
    this.#port = port1;
    this.#port.on('message', (message: FromThread) => this.#receive(message));
    // It is the thread that keeps the process alive, or does not.
    this.#port.unref();
    this.#worker.on('error', (error) => this.#died(error));
    this.#worker.on('exit', (exitCode) => this.#exited(exitCode));
  }

  /** Resolves once it can take a job. @throws JobModuleError. EntryModuleError. What opening the database throws. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Resolves once the thread is gone. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  get isReady(): boolean {
    return this.#isReady && !this.#hasEnded;
  }

  get threadId(): number {
    return this.#worker.threadId;
  }

  /** Whether the thread keeps the process alive, as it does from its start. */
  keepsAlive(keeps: boolean): void {
    if (keeps) this.#worker.ref();
    else this.#worker.unref();
  }

  /** Sends a message; one that has ended does not get it. */
  post(message: ToThread): void {
    this.#port.postMessage(message);
  }

  /** Tells the thread, which has no job, to let go of the database and end; resolves once it is gone. */
  async end(): Promise<void> {
    if (this.#hasEnded) return;
    if (!this.#isReady) return this.kill();
    this.keepsAlive(true);
    this.post({ kind: 'end' });
    const timer = this.#options.clock.schedule(END_MS, () => void this.#worker.terminate());
    try {
      await this.ended;
    } finally {
      timer.cancel();
    }
  }

  /** Ends the thread wherever it is; resolves once it is gone, which a blocking system call may delay. */
  async kill(): Promise<void> {
    if (!this.#hasEnded) void this.#worker.terminate();
    await this.ended;
  }

  #receive(message: FromThread): void {
    switch (message.kind) {
      case 'ready':
        this.#isReady = true;
        this.#ready.resolve();
        return;
      case 'failed':
        this.#error ??= startError(message);
        this.#ready.reject(this.#error);
        return;
      case 'log':
        writeSentLog(message.record);
        return;
      case 'ended':
        // Timers and sockets that jobs left behind would keep it.
        void this.#worker.terminate();
        return;
      default:
        this.#options.onMessage(message);
    }
  }

  #died(error: unknown): void {
    this.#error ??= error instanceof Error ? error : new Error(String(error));
  }

  #exited(exitCode: number): void {
    // Ordering: it takes no more from here on, whatever its last words bring about.
    this.#hasEnded = true;
    // Its last words may still be on their way: what it did before it ended counts.
    for (let last = receiveMessageOnPort(this.#port); last; last = receiveMessageOnPort(this.#port)) {
      this.#receive(last.message as FromThread);
    }
    this.#port.close();
    this.#ready.reject(this.#error ?? new Error(`the worker thread ended with exit code ${exitCode} while it started`));
    this.#ended.resolve();
    this.#options.onEnd({ error: this.#error, exitCode });
  }
}

function startError(message: Extract<FromThread, { kind: 'failed' }>): Error {
  const { module, error } = message;
  if (module === undefined) return fromSentError(error);
  if (message.isProgram) return new EntryModuleError(module, message.detail);
  return new JobModuleError(module, message.detail, error.cause ? { cause: fromSentError(error.cause) } : undefined);
}

/**
 * A program that was given on the command line or on standard input has a flag that a thread refuses. Flags that say how
 * modules are found and loaded are kept then; without that flag, everything is inherited.
 */
function execArgvWithoutEval(): string[] | undefined {
  if (!process.execArgv.some((flag) => flag.startsWith('--input-type'))) return undefined;
  const kept: string[] = [];
  for (let i = 0; i < process.execArgv.length; i++) {
    const flag = process.execArgv[i] as string;
    if (!/^(?:--import|--require|-r|--loader|--experimental-loader|--conditions|-C)(?:=|$)/.test(flag)) continue;
    kept.push(flag);
    if (!flag.includes('=')) kept.push(process.execArgv[++i] as string);
  }
  return kept;
}
