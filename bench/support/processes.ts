import { type ChildProcess, fork, spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const RUNZEO = fileURLToPath(
  import.meta.resolve('holdfast/package.json').replace('package.json', 'dist/cli/runzeo.js'),
);
const ENVIRONMENT = { ...process.env, UV_THREADPOOL_SIZE: '16' };

/** A storage server in a process of its own. */
export class ServerProcess {
  private constructor(
    readonly uri: string,
    private readonly child: ChildProcess,
  ) {}

  static async start(directory: string, options: readonly string[] = []): Promise<ServerProcess> {
    const args = [RUNZEO, '-a', '127.0.0.1:0', '-f', join(directory, 'server.fs'), ...options];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: ENVIRONMENT,
    });
    const address = await new Promise<string>((resolve, reject) => {
      let output = '';
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        const [found] = /127\.0\.0\.1:\d+/.exec(output) ?? [];
        if (found) resolve(found);
      });
      child.once('exit', (code) => reject(new Error(`the server ended with exit code ${code}`)));
    });
    return new ServerProcess(`zeo://${address}`, child);
  }

  async end(): Promise<void> {
    await endOf(this.child);
  }
}

/** A process of ours that answers requests, one at a time. */
export class WorkerProcess {
  readonly #child: ChildProcess;

  /** @param module URL of a module that serves with {@link serveRequests} */
  constructor(module: URL, args: readonly string[]) {
    this.#child = fork(fileURLToPath(module), [...args], { env: ENVIRONMENT });
  }

  request<T>(request: unknown): Promise<T> {
    const answer = this.next<T>();
    this.#child.send(request as object);
    return answer;
  }

  /** Resolves to what the process says next. */
  next<T>(): Promise<T> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null) =>
        reject(new Error(`a process of the benchmark ended with exit code ${code}`));
      this.#child.once('exit', ended);
      this.#child.once('message', (answer: { value: T } | { error: string }) => {
        this.#child.off('exit', ended);
        if ('error' in answer) reject(new Error(answer.error));
        else resolve(answer.value);
      });
    });
  }

  async end(): Promise<void> {
    await endOf(this.#child);
  }
}

/** Answers the requests of the process that started this one. */
export function serveRequests(answer: (request: never) => Promise<unknown>): void {
  process.on('message', (request) => {
    answer(request as never).then(
      (value) => process.send?.({ value: value ?? null }),
      (error) => process.send?.({ error: String(error) }),
    );
  });
}

function endOf(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
  });
}
